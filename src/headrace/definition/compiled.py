"""Definitions and the catalogues' facts become shapes and feed plans: what workers run by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from headrace.definition.column_rules import column_faults
from headrace.definition.definitions import Definitions
from headrace.definition.property_graph import implied_key_columns
from headrace.definition.relation import query_text
from headrace.definition.source import (
    CustomerColumn,
    PrimarySource,
    SecondarySource,
    Source,
)
from headrace.definition.staging import secondary_shape
from headrace.domain.shape import Column, ModelShape, PropertyShape, SourceShape, shape_fingerprint
from headrace.domain.shape import dump_json as dump_shape
from headrace.domain.shape import load_json as load_shape
from headrace.domain.vocabulary import (
    TEXT_TYPES,
    Aggregation,
    AppId,
    ModelId,
    PropertyType,
    SourceId,
)
from headrace.errors import Fault
from headrace.ports import FeedPlan, ReadPlan, Relation, TableFacts

_KEEP_ORDER: Final = TEXT_TYPES | {PropertyType.INTEGER, PropertyType.DATE, PropertyType.DATETIME}


@dataclass(frozen=True, slots=True)
class _Document:
    models: tuple[ModelShape, ...]
    feeds: tuple[FeedPlan, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Shapes by model and plans by feed: a pure function of definitions and facts."""

    models: Mapping[ModelId, ModelShape]
    feeds: Mapping[tuple[SourceId, AppId], FeedPlan]

    def dump_json(self) -> str:
        """Canonical JSON: equal for equal values."""
        return dump_shape(_Document(tuple(self.models.values()), tuple(self.feeds.values())))

    @classmethod
    def load_json(cls, text: str) -> Compiled:
        """What `dump_json` wrote; pydantic.ValidationError for anything else."""
        document = load_shape(_Document, text)
        return cls(
            {model.id: model for model in document.models},
            {(plan.source.id, plan.app_id): plan for plan in document.feeds},
        )


def compile_definitions(
    definitions: Definitions, facts: Mapping[SourceId, TableFacts]
) -> tuple[Compiled, tuple[Fault, ...]]:
    """Shapes and plans of every source that fits its facts, and the faults of those that do not.

    A source without facts is left out without a fault (whoever could not describe it has one). What
    needs a source that is left out is left out with a fault: sources mapped to a property of it, and
    a model whose primary source it is.
    """
    models: dict[ModelId, ModelShape] = {}
    faults: list[Fault] = []
    for model in sorted(definitions.models):
        shape, wrong = _compile_model(definitions, model, facts)
        faults += wrong
        if shape is not None:
            models[model] = shape
    shapes = {source.id: source for model in models.values() for source in model.sources}
    feeds = {
        (source, app): feed_plan(definitions, shapes[source], app, facts[source])
        for source, app in definitions.feeds()
        if source in shapes
    }
    return Compiled(models, feeds), tuple(faults)


def _compile_model(
    definitions: Definitions, model: ModelId, facts: Mapping[SourceId, TableFacts]
) -> tuple[ModelShape | None, list[Fault]]:
    sources = dict(definitions.sources_of(model))
    primary_id = definitions.primary_of(model)
    faults = {
        i: list(column_faults(definitions.file("sources", i), source, facts[i]))
        for i, source in sources.items()
        if i in facts
    }
    wrong = [fault for found in faults.values() for fault in found]
    usable = {i for i, found in faults.items() if not found}
    if primary_id not in usable:
        message = f"left out, as its primary source {primary_id} is"
        return None, [*wrong, Fault(definitions.file("models", model), "", message)]
    primary = sources[primary_id]
    assert isinstance(primary, PrimarySource)  # noqa: S101  `primary_of` says so
    shapes = [primary_shape(primary_id, primary, facts[primary_id])]
    types = {c.name: c.type for c in shapes[0].columns}
    waiting = {i: s for i, s in sources.items() if isinstance(s, SecondarySource) and i in usable}
    while ready := [i for i, s in waiting.items() if s.mapped_property in types]:
        source = waiting.pop(ready[0])
        shapes.append(secondary_shape(ready[0], source, facts[ready[0]], types[source.mapped_property]))
        types.update({name: p.type for name, p in source.properties.items()})
    wrong += [_unmapped(definitions, i, source) for i, source in waiting.items()]
    return model_shape(model, shapes), wrong


def _unmapped(definitions: Definitions, source_id: SourceId, source: SecondarySource) -> Fault:
    file = definitions.file("sources", source_id)
    message = f'left out, as the source that feeds "{source.mapped_property}" is'
    return Fault(file, f"mapping.{source.mapping_column}", message)


def model_shape(model: ModelId, sources: Iterable[SourceShape]) -> ModelShape:
    """The model of these sources, the primary first and each after the one it depends on."""
    ordered = tuple(sources)
    fed = tuple(
        Column(name=p.name, type=p.type, source_column=p.name)
        for source in ordered[1:]
        for p in source.properties
    )
    primary = ordered[0]
    return ModelShape(id=model, key=primary.key, columns=primary.columns + fed, sources=ordered)


def primary_shape(source_id: SourceId, source: PrimarySource, facts: TableFacts) -> SourceShape:
    """The shape of a primary source: its columns are its properties, those of the key first."""
    implied = {
        column: Column(name=column, type=_fact_type(facts, column), source_column=column)
        for column in implied_key_columns(source)
    }
    written = [
        Column(name=name, type=p.type, source_column=p.column) for name, p in source.properties.items()
    ]
    key = tuple(
        implied.get(column) or next(c for c in written if c.source_column == column) for column in source.key
    )
    columns = key + tuple(c for c in written if c not in key)
    return SourceShape(
        id=source_id,
        model=ModelId(source.model),
        primary=True,
        key=key,
        columns=columns,
        properties=tuple(
            PropertyShape(name=c.name, type=c.type, aggregation=Aggregation.VALUE, column=c.name)
            for c in columns
        ),
        customer_in_column=isinstance(source.customer, CustomerColumn),
        many_apps=source.apps is not None,
    )


def _fact_type(facts: TableFacts, column: str) -> PropertyType:
    found = facts.column(column)
    assert found is not None  # noqa: S101  `column_faults` found it
    return found.type


def feed_plan(definitions: Definitions, shape: SourceShape, app_id: AppId, facts: TableFacts) -> FeedPlan:
    """How a fetch worker reads one source through one app."""
    source = definitions.sources[shape.id]
    schedule = source.schedule
    return FeedPlan(
        source=shape,
        shape_fingerprint=shape_fingerprint(shape),
        app_id=app_id,
        read=ReadPlan(
            relation=relation_of(source),
            columns=_read_columns(source, shape),
            key=source.key,
            cursor=schedule.cursor,
            time_zone=schedule.time_zone,
            skew_s=schedule.skew_s,
            page_rows=schedule.page_rows,
        ),
        visibility_group=definitions.apps[app_id].visibility_group,
        schema=definitions.models[shape.model].schema_id,
        customer=definitions.customer_of(shape.id, app_id),
        customer_column=_customer_column(source),
        create_unknown_customers=source.unknown_customers == "create",
        clock=schedule.clock_name,
        deletes="column" if schedule.deleted_column else str(schedule.deletes),
        deleted_column=schedule.deleted_column,
        reconcile_full=schedule.reconcile_full,
        chunkable=all(_is_chunkable(c, facts, schedule.time_zone) for c in shape.key),
        indexed=_indexed(definitions, shape),
    )


def _indexed(definitions: Definitions, shape: SourceShape) -> tuple[str, ...]:
    mapped_to = {
        source.mapped_property
        for _, source in definitions.sources_of(shape.model)
        if isinstance(source, SecondarySource)
    }
    fed = {p.column for p in shape.properties if p.name in mapped_to}
    if shape.mapping is not None:
        fed.add(shape.mapping.column)
    return tuple(c.name for c in shape.columns if c.name in fed)


def relation_of(source: Source) -> Relation:
    """What a source reads."""
    return Relation(table=source.table, query=query_text(source.query) if source.query else None)


def _customer_column(source: Source) -> str | None:
    return source.customer.column if isinstance(source.customer, CustomerColumn) else None


def _read_columns(source: Source, shape: SourceShape) -> tuple[str, ...]:
    schedule = source.schedule
    named = (*source.key, schedule.cursor, _customer_column(source), schedule.deleted_column)
    needed = (*(c for c in named if c), *(c.source_column for c in shape.columns))
    return tuple(dict.fromkeys(needed))


def _is_chunkable(column: Column, facts: TableFacts, time_zone: str) -> bool:
    """The source orders the column's values as the store orders what they become."""
    found = facts.column(column.source_column)
    if found is None or not found.portable_order or column.type not in _KEEP_ORDER:
        return False
    if column.type is PropertyType.DATETIME and time_zone != "UTC":
        return False  # when clocks go back, local times order otherwise than the moments they are
    return found.type == column.type or {found.type, column.type} <= TEXT_TYPES
