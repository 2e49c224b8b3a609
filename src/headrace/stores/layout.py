"""Names, columns, keys and indexes of a data source's tables: what people query with SQL depends on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from headrace.domain.shape import Column, Mapping, ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, INVALID, PropertyType, SourceId
from headrace.domain.vocabulary import CREATED as CREATED
from headrace.domain.vocabulary import UPDATED as UPDATED
from headrace.errors import InvariantError
from headrace.stores.dialect import Dialect

APPLIED = "_applied"
GONE = "_gone"
MOVED = "_moved"
IDENTITY = "_identity"
CONTRACT = "_contract"
OUTBOX = "_outbox"
POSITION = "_outbox_position"
ASIDE = "_outbox_aside"


@dataclass(frozen=True, slots=True)
class TableColumn:
    name: str
    type: str
    """As the dialect writes it in a definition."""
    nullable: bool = True
    default: str = ""
    """As it stands in a definition, ` DEFAULT …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """One table as it should be; `indexes` holds the columns of each index by its name."""

    name: str
    columns: tuple[TableColumn, ...]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def column(self, name: str) -> TableColumn | None:
        return next((c for c in self.columns if c.name == name), None)


def staged_name(source_id: SourceId) -> str:
    return f"_staged_{source_id}"


def mapping_of(source: SourceShape) -> Mapping:
    """How a secondary source's rows belong to records."""
    if source.mapping is None:
        raise InvariantError(f"source {source.id} has no mapping")
    return source.mapping


def index_name(table: str, columns: Iterable[str]) -> str:
    """Unique in the namespace, at most 63 bytes, told by table and columns alone."""
    digest = blake2b("\0".join((table, *columns)).encode(), digest_size=6).hexdigest()
    return f"_ix_{table}"[:50] + f"_{digest}"


def model_layout(model: ModelShape, dialect: Dialect) -> TableLayout:
    """The table of records."""
    key = (CUSTOMER, *(c.name for c in model.key))
    now = f" DEFAULT {dialect.now}" if dialect.now_by_default else ""
    columns = (
        TableColumn(CUSTOMER, dialect.text, nullable=False),
        *_columns(model.columns, key, dialect),
        TableColumn(CREATED, dialect.timestamp, nullable=False, default=now),
        TableColumn(UPDATED, dialect.timestamp, nullable=False, default=now),
        TableColumn(INVALID, dialect.json),
    )
    return TableLayout(
        name=model.id, columns=columns, key=key, indexes=_indexes(model.id, _model_indexes(model))
    )


def _model_indexes(model: ModelShape) -> Iterable[tuple[str, ...]]:
    """On the key alone where a row may change customer; on each property that rows are mapped to."""
    if model.primary.customer_in_column:
        yield tuple(c.name for c in model.key)
    mapped = dict.fromkeys(s.mapping.property for s in model.sources if s.mapping)
    for name in mapped:
        if (name,) != tuple(c.name for c in model.key):
            yield (CUSTOMER, name)


def staged_layout(source: SourceShape, dialect: Dialect) -> TableLayout:
    """The table of a secondary source's rows."""
    name = staged_name(source.id)
    key = (*(c.name for c in source.key), *((APP,) if source.many_apps else ()))
    app = (TableColumn(APP, dialect.text, nullable=False),) if source.many_apps else ()
    columns = (
        TableColumn(CUSTOMER, dialect.text, nullable=False),
        *_columns(source.columns, key, dialect),
        *app,
        TableColumn(INVALID, dialect.json),
    )
    indexes = _indexes(name, [(CUSTOMER, mapping_of(source).column)])
    return TableLayout(name=name, columns=columns, key=key, indexes=indexes)


def system_layouts(dialect: Dialect) -> tuple[TableLayout, ...]:
    """The tables that every data source has once."""
    text, number = dialect.text, dialect.types[PropertyType.INTEGER]
    flag = dialect.types[PropertyType.BOOLEAN]

    def table(name: str, key_columns: int, /, **columns: str) -> TableLayout:
        return TableLayout(
            name=name,
            columns=tuple(TableColumn(c, t, nullable=False) for c, t in columns.items()),
            key=tuple(columns)[:key_columns],
        )

    return (
        table(APPLIED, 1, feed=text, model=text, source=text, log=text, seq=number, batch=text),
        table(GONE, 3, feed=text, reconciliation=text, key=text, held=flag),
        table(MOVED, 1, customer=text, epoch=number),
        table(IDENTITY, 1, workspace=text, data_source=text, schema=text),
        table(CONTRACT, 2, model=text, source=text, fingerprint=text, state=text, shape=text),
    )


def outbox_layouts(dialect: Dialect) -> tuple[TableLayout, ...]:
    """The tables of a data source with events: the events in order, how far each sink has taken those of each
    model, and the events that a sink did not take. `key` and `record` are JSON, as texts."""
    text, number, at = dialect.text, dialect.types[PropertyType.INTEGER], dialect.timestamp
    flag = dialect.types[PropertyType.BOOLEAN]

    def needed(**columns: str) -> tuple[TableColumn, ...]:
        return tuple(TableColumn(name, type_, nullable=False) for name, type_ in columns.items())

    def optional(**columns: str) -> tuple[TableColumn, ...]:
        return tuple(TableColumn(name, type_) for name, type_ in columns.items())

    return (
        TableLayout(
            name=OUTBOX,
            columns=(
                TableColumn("seq", dialect.numbered),
                *needed(merge=text, model=text, customer=text, key=text, kind=text),
                *optional(changed=text, record=text),
                *needed(at=at),
            ),
            key=(),
            indexes=_indexes(OUTBOX, [("model", "seq")]),
        ),
        TableLayout(
            name=POSITION,
            columns=(
                *needed(sink=text, model=text, seq=number),
                *optional(holder=text, until=at, retry_at=at, failing_since=at, error=text),
                *needed(failures=number),
            ),
            key=("sink", "model"),
        ),
        TableLayout(
            name=ASIDE,
            columns=needed(sink=text, seq=number, reason=text, at=at, again=flag),
            key=("sink", "seq"),
        ),
    )


def create_table(layout: TableLayout, dialect: Dialect) -> str:
    """The table with its key; where that is no column's own."""
    columns = [
        f"{dialect.quote(c.name)} {c.type}{'' if c.nullable else ' NOT NULL'}{c.default}"
        for c in layout.columns
    ]
    if layout.key:
        columns.append(f"PRIMARY KEY ({', '.join(map(dialect.quote, layout.key))})")
    return f"CREATE TABLE {dialect.table(layout.name)} ({', '.join(columns)})"


def create_index(layout: TableLayout, name: str, dialect: Dialect) -> str:
    columns = ", ".join(map(dialect.quote, dict(layout.indexes)[name]))
    return dialect.create_index(name, table=layout.name, columns=columns)


def _columns(columns: Iterable[Column], key: tuple[str, ...], dialect: Dialect) -> Iterable[TableColumn]:
    return (TableColumn(c.name, dialect.types[c.type], nullable=c.name not in key) for c in columns)


def _indexes(table: str, columns: Iterable[tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((index_name(table, c), c) for c in columns)
