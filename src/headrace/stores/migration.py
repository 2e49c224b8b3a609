"""What has to change so that a data source's tables fit the models: found first, then done.

Additive where it can be. A table whose key or mapped column changed its type is made anew, and its
feeds forget what they applied, so that they begin a new log. So do the feeds whose rows lost a part that
was there when the tables were made (drift). What somebody else has added stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from headrace.domain.shape import ModelShape, SourceShape, dump_json, load_json, shape_fingerprint
from headrace.domain.vocabulary import CUSTOMER, INVALID, SourceId
from headrace.ports import TableChange
from headrace.stores.dialect import Connections, Dialect, ExistingTable, Session
from headrace.stores.frame import Frame, names_of
from headrace.stores.layout import (
    APPLIED,
    CONTRACT,
    GONE,
    TableColumn,
    TableLayout,
    create_index,
    create_table,
    mapping_of,
    model_layout,
    staged_layout,
    staged_name,
)
from headrace.stores.loading import LOADING, READY, key_of, note_state, restore_key
from headrace.stores.recompute import Recompute
from headrace.stores.touched import Touched


@dataclass(frozen=True, slots=True)
class Contract:
    """The source shapes that the tables were made for, by source; None where it cannot be read."""

    fingerprints: dict[SourceId, str]
    shapes: dict[SourceId, SourceShape | None]
    loading: frozenset[SourceId] = frozenset()
    """Those whose tables wait for their key."""


@dataclass(slots=True)
class Migration:
    """The changes of one model: in words, as statements, and what follows from them.

    Attributes:
        rebuilt: sources whose rows are lost: their feeds begin anew.
        recomputed: sources whose properties every record needs computed again.
        removed: sources that are no longer there.
        dropped: properties that are no longer there, or of another type.
        stamp: the contract is not the one written in the data source.
        lacking: parts that are missing or of another type, in words.
        loading: sources, as the tables were made for them, whose tables wait for their key, which is no
            change: until the load ends they count as having it.
    """

    changes: list[TableChange] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    rebuilt: set[SourceId] = field(default_factory=set)
    recomputed: set[SourceId] = field(default_factory=set)
    removed: set[SourceId] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    stamp: bool = False
    lacking: list[str] = field(default_factory=list)
    loading: list[SourceShape] = field(default_factory=list)

    @property
    def drift(self) -> tuple[str, ...]:
        """What the tables lack of what they were made for; nothing where that was something else."""
        return () if self.stamp else tuple(self.lacking)

    @property
    def needed(self) -> bool:
        return bool(self.changes) or self.stamp

    def change(self, table: str, words: str, *statements: str) -> None:
        self.changes.append(TableChange(table, words))
        self.statements.extend(statements)


def find_migration(connections: Connections, session: Session, model: ModelShape) -> Migration:
    """What `model` needs; nothing is written."""
    return _Finder(connections, session, model).find()


class _Finder:
    def __init__(self, connections: Connections, session: Session, model: ModelShape) -> None:
        self._connections = connections
        self._dialect: Dialect = connections.dialect
        self._session = session
        self._model = model
        self._found = Migration()
        self._made_for: dict[SourceId, SourceShape | None] = {}

    def find(self) -> Migration:
        contract = self._contract()
        self._made_for = contract.shapes
        shapes = (contract.shapes[source] for source in sorted(contract.loading))
        self._found.loading = [shape for shape in shapes if shape is not None]
        found, model = self._found, self._model
        found.stamp = contract.fingerprints != {s.id: shape_fingerprint(s) for s in model.sources}
        found.removed = contract.fingerprints.keys() - {s.id for s in model.sources}
        self._compare_records()
        for source in model.sources[1:]:
            self._compare_staged(source)
            known = source.id in contract.fingerprints
            if known and contract.shapes[source.id] != source:
                found.recomputed.add(source.id)
        for source_id in sorted(found.removed):
            self._drop_staged(source_id)
        for source_id in sorted(found.recomputed):
            found.change(model.id, f"recompute the properties of source {source_id}")
        return found

    def _contract(self) -> Contract:
        if self._connections.existing(self._session, CONTRACT) is None:
            return Contract({}, {})
        frame = Frame(self._session, self._model)
        binds = frame.binds()
        rows = self._session.all(
            f"SELECT {frame.names(['source', 'fingerprint', 'shape', 'state'])}"
            f" FROM {self._dialect.table(CONTRACT)}"
            f" WHERE {frame.q('model')} = {binds.text(self._model.id)}",
            binds,
        )
        return Contract(
            {SourceId(source): fingerprint for source, fingerprint, _, _ in rows},
            {SourceId(source): _read_shape(shape) for source, _, shape, _ in rows},
            frozenset(SourceId(source) for source, _, _, state in rows if state == LOADING),
        )

    def _compare_records(self) -> None:
        layout = model_layout(self._model, self._dialect)
        existing = self._existing(layout)
        if existing is None:
            self._lacks(f"table {layout.name} is missing")
            self._create(layout)
            self._lost(self._model.primary)
        elif not _same_columns(layout, existing, layout.key) or existing.key != layout.key:
            self._lacks(f"table {layout.name} has another key")
            self._rebuild(layout)
            self._found.rebuilt |= {s.id for s in self._model.sources}
        else:
            changed = self._alter(layout, existing, self._made_columns())
            self._found.dropped |= changed
            if changed & {c.name for c in self._model.primary.columns}:
                self._lost(self._model.primary)
            for source in self._model.sources[1:]:
                if changed & {p.name for p in source.properties}:
                    self._found.recomputed.add(source.id)

    def _compare_staged(self, source: SourceShape) -> None:
        layout = staged_layout(source, self._dialect)
        existing = self._existing(layout)
        if existing is None:
            self._lacks(f"table {layout.name} is missing")
            self._create(layout)
            self._lost(source)
            return
        kept = (*layout.key, *({mapping_of(source).column} & existing.columns.keys()))
        fits = existing.key == layout.key and _same_columns(layout, existing, kept)
        if not fits or source.id in self._found.rebuilt:
            self._lacks(f"table {layout.name} has another key or mapped column")
            self._rebuild(layout)
            self._found.rebuilt.add(source.id)
            self._found.recomputed.add(source.id)
        else:
            made_for = self._made_for.get(source.id)
            made = staged_layout(made_for, self._dialect).columns if made_for else ()
            if self._alter(layout, existing, frozenset(c.name for c in made)):
                self._lost(source)

    def _existing(self, layout: TableLayout) -> ExistingTable | None:
        """The table, as it will be when its load has ended."""
        existing = self._connections.existing(self._session, layout.name)
        for key in map(key_of, self._found.loading):
            if existing is not None and not existing.key and key.table == layout.name:
                indexes = existing.indexes | {name for name, _ in layout.indexes}
                return replace(existing, key=key.columns, indexes=indexes)
        return existing

    def _made_columns(self) -> frozenset[str]:
        """Columns of the table of records that we made, by the shapes that are stamped."""
        shapes = [shape for shape in self._made_for.values() if shape is not None]
        keys = {c.name for shape in shapes if shape.primary for c in shape.key}
        return frozenset(keys | {p.name for shape in shapes for p in shape.properties})

    def _lost(self, source: SourceShape) -> None:
        """Rows of the source are gone, or a part of each, though the source is what it was: they are read
        again. (A source that changed is read again anyway.)"""
        if self._made_for.get(source.id) == source:
            self._found.rebuilt.add(source.id)
            if not source.primary:
                self._found.recomputed.add(source.id)

    def _lacks(self, words: str) -> None:
        self._found.lacking.append(words)

    def _create(self, layout: TableLayout) -> None:
        made = [create_index(layout, name, self._dialect) for name, _ in layout.indexes]
        self._found.change(layout.name, "create", create_table(layout, self._dialect), *made)

    def _rebuild(self, layout: TableLayout) -> None:
        self._found.change(
            layout.name, "drop: its key changed", f"DROP TABLE {self._dialect.table(layout.name)}"
        )
        self._create(layout)

    def _drop_staged(self, source_id: SourceId) -> None:
        name = staged_name(source_id)
        if self._connections.existing(self._session, name) is not None:
            self._found.change(name, "drop", f"DROP TABLE {self._dialect.table(name)}")

    def _alter(self, layout: TableLayout, existing: ExistingTable, ours: frozenset[str]) -> set[str]:
        """Indexes that are not wanted go first, those that are missing come last. The columns that
        came, went or changed.

        Args:
            ours: columns that we made: of those that are not wanted, only these go.
        """
        found, dialect = self._found, self._dialect
        table = f"ALTER TABLE {dialect.table(layout.name)}"
        wanted = dict(layout.indexes)
        changed = {
            name
            for name, type_ in existing.columns.items()
            if ((column := layout.column(name)) is None and name in ours)
            or (column is not None and column.type != type_)
        }
        stale = existing.indexes - wanted.keys()
        stale |= {n for n, c in layout.indexes if n in existing.indexes and changed & set(c)}
        for name in sorted(stale):
            found.change(layout.name, f"drop index {name}", dialect.drop_index(name))
        for name in sorted(changed):
            found.change(layout.name, f"drop column {name}", f"{table} DROP COLUMN {dialect.quote(name)}")
        for column in layout.columns:
            if existing.columns.get(column.name) != column.type:
                words = f"add column {column.name} {column.type}"
                added = f"{table} ADD COLUMN {dialect.quote(column.name)} {column.type}"
                found.change(layout.name, words, added)
                changed.add(column.name)
                self._lacks(_lack(layout.name, column, existing))
        for name in wanted:
            if name not in existing.indexes - stale:
                made = create_index(layout, name, dialect)
                found.change(layout.name, f"create index {name}", made)
        return changed


def end_loads(connections: Connections, session: Session, model: ModelShape) -> Migration:
    """What the model needs once its tables have their keys, as they have now."""
    migration = find_migration(connections, session, model)
    loading = migration.loading
    for source in loading:
        if connections.existing(session, key_of(source).table) is not None:
            restore_key(session, key_of(source))
            session.adopt_key(key_of(source).table)
            note_state(Frame(session, model), source, READY)
    if loading:
        migration = find_migration(connections, session, model)
        migration.recomputed |= {source.id for source in model.sources[1:]}
    return migration


def migrate(frame: Frame, migration: Migration) -> None:
    """Do what was found, stamp the contract, recompute."""
    for statement in migration.statements:
        frame.run(statement)
    _forget_feeds(frame, migration.rebuilt | migration.removed)
    _stamp(frame)
    if migration.dropped:
        _drop_invalid(frame, migration.dropped)
    touched = Touched(frame)
    keys = frame.names((CUSTOMER, *names_of(frame.model.key)))
    for source in frame.secondary:
        if source.id in migration.recomputed:
            touched.add_records(source, f"SELECT {keys} FROM {frame.records}")
    Recompute(frame, touched).run()
    frame.events.write()
    frame.drop_temps()


def remove(connections: Connections, frame: Frame) -> None:
    """Nothing is left of the model: no table, nothing of its feeds, no contract."""
    q, table = frame.q, frame.dialect.table
    for name in (frame.model.id, *(staged_name(source.id) for source in frame.secondary)):
        if connections.existing(frame.session, name) is not None:
            frame.run(f"DROP TABLE {table(name)}")
    _forget_feeds(frame, [source.id for source in frame.model.sources])
    binds = frame.binds()
    frame.run(f"DELETE FROM {table(CONTRACT)} WHERE {q('model')} = {binds.text(frame.model.id)}", binds)


def _forget_feeds(frame: Frame, sources: Iterable[SourceId]) -> None:
    """Their rows are gone: control sees a store behind its log, and begins a new one."""
    q, applied, gone = frame.q, frame.dialect.table(APPLIED), frame.dialect.table(GONE)
    for source_id in sorted(sources):
        binds = frame.binds()
        feeds = f"{q('model')} = {binds.text(frame.model.id)} AND {q('source')} = {binds.text(source_id)}"
        noted = f"SELECT {q('feed')} FROM {applied} WHERE {feeds}"
        frame.run(f"DELETE FROM {gone} WHERE {q('feed')} IN ({noted})", binds)
        frame.run(f"DELETE FROM {applied} WHERE {feeds}", binds)


def _stamp(frame: Frame) -> None:
    q, table, model_id = frame.q, frame.dialect.table(CONTRACT), frame.model.id
    binds = frame.binds()
    frame.run(f"DELETE FROM {table} WHERE {q('model')} = {binds.text(model_id)}", binds)
    columns = frame.names(["model", "source", "fingerprint", "state", "shape"])
    for source in frame.model.sources:
        binds = frame.binds()
        texts = [model_id, source.id, shape_fingerprint(source), READY, dump_json(source)]
        values = ", ".join(map(binds.text, texts))
        frame.run(f"INSERT INTO {table} ({columns}) VALUES ({values})", binds)


def _drop_invalid(frame: Frame, properties: set[str]) -> None:
    """Entries of properties that went, or came anew, say nothing any more."""
    binds = frame.binds()
    invalid = f"r.{frame.q(INVALID)}"
    kept = frame.dialect.merged_invalid(binds, old=invalid, names=sorted(properties), new="NULL")
    frame.run(
        f"UPDATE {frame.records} AS r SET {frame.q(INVALID)} = {kept} WHERE {invalid} IS NOT NULL", binds
    )


def _same_columns(layout: TableLayout, existing: ExistingTable, names: Iterable[str]) -> bool:
    wanted = {c.name: c.type for c in layout.columns}
    return all(existing.columns.get(name) == wanted.get(name) for name in names)


def _lack(table: str, column: TableColumn, existing: ExistingTable) -> str:
    name, type_ = column.name, existing.columns.get(column.name)
    if type_ is None:
        return f"column {table}.{name} is missing"
    return f"column {table}.{name} is of type {type_}, not {column.type}"


def _read_shape(text: str) -> SourceShape | None:
    try:
        return load_json(SourceShape, text)
    except ValidationError:
        return None
