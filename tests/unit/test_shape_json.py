"""Shapes travel as canonical JSON, and their fingerprint tells them apart."""

from __future__ import annotations

import dataclasses
import json
from hashlib import sha256

import pytest
from pydantic import ValidationError

from headrace.domain.shape import (
    Column,
    ModelShape,
    PropertyShape,
    SourceShape,
    dump_json,
    load_json,
    shape_fingerprint,
)
from headrace.domain.vocabulary import Aggregation, ModelId, PropertyType, SourceId

KEY = Column(name="id", type=PropertyType.INTEGER, source_column="Id")
SHAPE = SourceShape(
    id=SourceId("users"),
    model=ModelId("users"),
    primary=True,
    key=(KEY,),
    columns=(KEY,),
    properties=(
        PropertyShape(name="id", type=PropertyType.INTEGER, aggregation=Aggregation.VALUE, column="id"),
    ),
)


def test_a_shape_is_equal_to_what_its_json_is_read_as() -> None:
    model = ModelShape(id=SHAPE.model, key=SHAPE.key, columns=SHAPE.columns, sources=(SHAPE,))
    assert load_json(ModelShape, dump_json(model)) == model
    assert load_json(SourceShape, dump_json(SHAPE)) == SHAPE


def test_json_is_canonical() -> None:
    text = dump_json(SHAPE)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_fingerprint_is_the_digest_of_the_canonical_json() -> None:
    assert shape_fingerprint(SHAPE) == sha256(dump_json(SHAPE).encode()).hexdigest()
    assert shape_fingerprint(load_json(SourceShape, dump_json(SHAPE))) == shape_fingerprint(SHAPE)


@pytest.mark.parametrize(
    "change",
    [{"many_apps": True}, {"customer_in_column": True}, {"id": SourceId("people")}, {"properties": ()}],
)
def test_every_change_of_a_shape_changes_its_fingerprint(change: dict[str, object]) -> None:
    changed = dataclasses.replace(SHAPE, **change)  # type: ignore[arg-type]
    assert shape_fingerprint(changed) != shape_fingerprint(SHAPE)


def test_json_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        load_json(ModelShape, dump_json(SHAPE))
