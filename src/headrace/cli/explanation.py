"""Where the values of one record come from: the content of `headrace explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.cli.record import Found, canonical
from headrace.cli.rows_behind import RowBehind, RowsBehind, rows_behind
from headrace.domain.shape import FilterClause, ModelShape, PropertyShape, SourceShape
from headrace.domain.vocabulary import INVALID, Aggregation

if TYPE_CHECKING:
    from headrace.control.runs import Run
    from headrace.control.status import FeedStatus
    from headrace.wiring import Application

SHOWN_ROWS: Final = 3
_SIGNS: Final = {"eq": "=", "ne": "≠", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedProperty:
    """A value, the source that feeds it, and in words what is made of its rows.

    Attributes:
        invalid: the raw value and the reason of a value that was set aside: the record's, or the first
            of those behind it.
        invalid_rows: rows behind it, of the first `LOOKED_AT`, whose value was set aside.
    """

    name: str
    value: Any
    source: str
    aggregation: str
    made_of: str
    invalid: Any = None
    invalid_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedSource:
    """A source of the record: how its feeds are doing, and the first rows behind the record.

    Attributes:
        rows: of a secondary source, as kept in the data source; `more` when there are others.
        last_run: of its feeds, the newest; None when it never found anything.
    """

    id: str
    primary: bool
    mapping: str | None
    feed_class: str | None
    class_reason: str | None
    last_run: Run | None
    rows: list[RowBehind]
    more: bool

    @property
    def summary(self) -> str:
        """A line for a person."""
        parts = [
            "primary" if self.primary else f"mapped {self.mapping}",
            f"class {self.feed_class or 'not known yet'}",
        ]
        if self.last_run is not None:
            parts.append(f"last run {self.last_run.started_at:%Y-%m-%d %H:%M:%S} ({self.last_run.state})")
        if not self.primary and not self.rows:
            parts.append("no row of it belongs to this record")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    model: str
    key: tuple[str, ...]
    customer: str
    data_source: str
    properties: list[ExplainedProperty]
    sources: list[ExplainedSource]

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/cli.md documents."""
        return {
            "model": self.model,
            "key": self.key,
            "customer": self.customer,
            "data_source": self.data_source,
            "properties": [
                {
                    "property": p.name,
                    "value": p.value,
                    "source": p.source,
                    "aggregation": p.aggregation,
                    "from": p.made_of,
                    "invalid": p.invalid,
                    "invalid_rows": p.invalid_rows,
                }
                for p in self.properties
            ],
            "sources": [_source_as_json(source) for source in self.sources],
        }


def _source_as_json(source: ExplainedSource) -> dict[str, Any]:
    run = source.last_run
    return {
        "source": source.id,
        "primary": source.primary,
        "mapping": source.mapping,
        "class": source.feed_class,
        "class_reason": source.class_reason,
        "last_run": run and {"run": run.id, "state": run.state, "started_at": run.started_at},
        "rows": [row.values for row in source.rows],
        "more_rows": source.more,
    }


def explain_record(app: Application, model: ModelShape, record: Found) -> Explanation:
    """What the applied definitions, the data source and the control database know of a record."""
    feeds = app.status.feed_status()
    behind = {source.id: rows_behind(app, source, record, model) for source in model.sources}
    return Explanation(
        model=model.id,
        key=tuple(canonical(record.values[column.name], column.type) or "" for column in model.key),
        customer=record.customer,
        data_source=record.data_source,
        properties=[
            _explained_property(record, behind[source.id], p)
            for source in model.sources
            for p in source.properties
        ],
        sources=[_explained_source(app, source, behind[source.id], feeds) for source in model.sources],
    )


def _explained_property(record: Found, behind: RowsBehind, made: PropertyShape) -> ExplainedProperty:
    own = (record.values[INVALID] or {}).get(made.name)
    of_rows = behind.invalid(made)
    return ExplainedProperty(
        name=made.name,
        value=record.values[made.name],
        source=behind.source.id,
        aggregation=made.aggregation,
        made_of=made_of(behind.source, made),
        invalid=own or (of_rows[0] if of_rows else None),
        invalid_rows=len(of_rows),
    )


def _explained_source(
    app: Application, source: SourceShape, behind: RowsBehind, feeds: list[FeedStatus]
) -> ExplainedSource:
    mine = [feed for feed in feeds if feed.source_id == source.id]
    runs = app.runs.runs(limit=1, source_id=source.id)
    weakest = max(
        mine, key=lambda f: ("exact", "bounded", "eventual", None).index(f.feed_class), default=None
    )
    mapping = source.mapping
    return ExplainedSource(
        id=source.id,
        primary=source.primary,
        mapping=None if mapping is None else f"{_source_column(source, mapping.column)} → {mapping.property}",
        feed_class=weakest.feed_class if weakest else None,
        class_reason=(weakest.class_reason or None) if weakest else None,
        last_run=runs[0] if runs else None,
        rows=behind.first(SHOWN_ROWS),
        more=len(behind.staged) > SHOWN_ROWS,
    )


def made_of(source: SourceShape, made: PropertyShape) -> str:
    """In words, what is made of a source's rows: `sum of amount where state = paid`."""
    column = None if made.column is None else _source_column(source, made.column)
    match made.aggregation:
        case Aggregation.VALUE:
            words = str(column)
        case Aggregation.COUNT if column is None:
            words = "count of rows"
        case Aggregation.MOST_RECENT | Aggregation.LEAST_RECENT:
            assert made.order_by is not None  # noqa: S101 (definitions are refused without it)
            which = "latest" if made.aggregation is Aggregation.MOST_RECENT else "earliest"
            words = f"{which} {column} by {_source_column(source, made.order_by)}"
        case _:
            words = f"{made.aggregation.replace('_', ' ')} of {column}"
    conditions = " and ".join(" or ".join(_clause(source, c) for c in group) for group in made.filters)
    return f"{words} where {conditions}" if conditions else words


def _clause(source: SourceShape, clause: FilterClause) -> str:
    column = _source_column(source, clause.column)
    operator = _SIGNS.get(clause.op, clause.op.replace("_", " "))
    return " ".join([column, operator, ", ".join(clause.values)]).rstrip()


def _source_column(source: SourceShape, name: str) -> str:
    return next((c.source_column for c in source.columns if c.name == name), name)
