"""What `doctor --prove-isolation` writes: a model that no definition can have, of customers nobody has."""

from __future__ import annotations

from typing import Final

from headrace.domain.shape import Column, Mapping, ModelShape, PropertyShape, SourceShape
from headrace.domain.vocabulary import Aggregation, ModelId, PropertyType, SourceId

CUSTOMER_PREFIX: Final = "__headrace_probe_"
KEYS: Final = ("1", "2", "3")
"""The same ones for each customer: only the marker tells whose a record is."""

# A definition's id begins with a letter: its tables are never these.
_MODEL: Final = ModelId("_headrace_probe")
_KEY: Final = Column(name="id", type=PropertyType.INTEGER, source_column="id")
_MARKER: Final = Column(name="marker", type=PropertyType.STRING, source_column="marker")
_NOTES: Final = Column(name="notes", type=PropertyType.JSON, source_column="notes")

RECORDS: Final = SourceShape(
    id=SourceId("_headrace_probe_records"),
    model=_MODEL,
    primary=True,
    key=(_KEY,),
    columns=(_KEY, _MARKER),
    properties=(
        PropertyShape(name="id", type=PropertyType.INTEGER, aggregation=Aggregation.VALUE, column="id"),
        PropertyShape(
            name="marker", type=PropertyType.STRING, aggregation=Aggregation.VALUE, column="marker"
        ),
    ),
)
_NOTE: Final = Column(name="note", type=PropertyType.STRING, source_column="note")
_RECORD: Final = Column(name="record", type=PropertyType.INTEGER, source_column="record")
NOTES: Final = SourceShape(
    id=SourceId("_headrace_probe_notes"),
    model=_MODEL,
    primary=False,
    key=(_NOTE,),
    columns=(_NOTE, _RECORD),
    properties=(
        PropertyShape(name="notes", type=PropertyType.JSON, aggregation=Aggregation.LIST, column="note"),
    ),
    mapping=Mapping(column="record", property="id"),
)
MODEL: Final = ModelShape(id=_MODEL, key=(_KEY,), columns=(_KEY, _MARKER, _NOTES), sources=(RECORDS, NOTES))
