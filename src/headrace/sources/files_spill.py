"""A temporary copy of files on disk, in which rows are found by key and by cursor.

Files have no order and no index. So what is read of them is kept in a private database of SQLite's, in a
file without a name that is gone with its connection, even when the process is killed. Its sorting spills to
disk too: memory stays bounded, however big the files are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from headrace import logs
from headrace.domain.arrow import Array, Table, pc
from headrace.domain.oversize import mark_oversized
from headrace.domain.vocabulary import PropertyType
from headrace.errors import ConfigurationError, ErrorCode, SourceDriftError
from headrace.ports import ColumnFacts, ExactKeys, ReadPlan, Selection, Since, TableFacts
from headrace.sources.files_cursor import is_whole, rank_of, time_ranks, whole_ranks
from headrace.sources.files_keys import loose_keys
from headrace.sources.files_piece import Piece
from headrace.sources.sqlite_catalogue import SqliteColumn, SqliteRelation
from headrace.sources.sqlite_select import compose_select
from headrace.sources.sqlite_value import Value, text_column, typed_value

log = logs.get(__name__)

MOST_UNREADABLE: Final = 1_000
_CACHE_KIB: Final = 32 * 1024
_KEYS_AT_ONCE: Final = 50_000
_ROWS_AT_ONCE: Final = 4_096
_CURSOR: Final = "r"
_UNREADABLE: Final = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillPlan:
    """What a copy holds: columns, and the ranks of one cursor."""

    columns: tuple[str, ...]
    numeric: frozenset[str]
    cursor: str | None
    time_zone: str
    max_cell_bytes: int


class Spill:
    """The rows of some files. Load all of them, then `finish`, then `select`."""

    def __init__(self, app_id: str, where: str, plan: SpillPlan) -> None:
        """
        Args:
            where: what the files are, for messages.
        """
        self.plan = plan
        self._where = f'{app_id}: "{where}"'
        self._names = {name: f"c{at}" for at, name in enumerate(plan.columns)}
        self._whole = self._timed = False
        self._unranked: str | None = None
        self._unreadable = 0
        self._sources: dict[tuple[str, ...], str] = {}
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.text_factory = bytes
        for pragma in (f"cache_size = -{_CACHE_KIB}", "temp_store = FILE", "journal_mode = OFF"):
            self._connection.execute(f"PRAGMA {pragma}")
        kinds = [f"{at} {'INTEGER' if name in plan.numeric else 'TEXT'}" for name, at in self._names.items()]
        self._connection.execute(f"CREATE TABLE t ({', '.join(kinds)}, r INTEGER, bad TEXT)")
        self._connection.execute("BEGIN")

    @property
    def has_times(self) -> bool:
        """The cursor's values are times."""
        return self._timed

    def extreme_ranks(self) -> tuple[int, int] | None:
        """Of the cursor; None when no row has one."""
        least, greatest = self._connection.execute("SELECT min(r), max(r) FROM t").fetchone()
        return None if least is None else (least, greatest)

    def load(self, pieces: Iterator[Piece]) -> None:
        """The pieces' rows come after all that were loaded before; of an error nothing of these stays."""
        before = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM t").fetchone()[0]
        unreadable = self._unreadable
        try:
            for piece in pieces:
                self._add(piece)
        except BaseException:
            self._connection.execute("DELETE FROM t WHERE rowid > ?", (before,))
            self._unreadable = unreadable
            raise

    def _add(self, piece: Piece) -> None:
        # Some rows at a time: as Python's values they take many times the memory that they do in Arrow.
        for start in range(0, piece.rows.num_rows, _ROWS_AT_ONCE):
            self._insert(piece.rows.slice(start, _ROWS_AT_ONCE))
        self._unreadable += len(piece.unreadable)
        if self._unreadable > MOST_UNREADABLE:
            raise ConfigurationError(
                f"{self._where}: more than {MOST_UNREADABLE:,} lines cannot be read, such as this:"
                f" {piece.unreadable[0].reason}: {piece.unreadable[0].line}",
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        self._connection.executemany(
            "INSERT INTO t (bad) VALUES (?)", [(line.mark,) for line in piece.unreadable]
        )

    def _insert(self, rows: Table) -> None:
        texts = [rows.column(name).combine_chunks() for name in self.plan.columns]
        cells = [mark_oversized(column, self.plan.max_cell_bytes).to_pylist() for column in texts]
        names = ", ".join((*self._names.values(), _CURSOR))
        marks = ", ".join("?" * (len(cells) + 1))
        ranked = zip(*cells, self._ranks(rows), strict=True)
        self._connection.executemany(f"INSERT INTO t ({names}) VALUES ({marks})", ranked)

    def _ranks(self, rows: Table) -> list[int | None]:
        if self.plan.cursor is None:
            return [None] * rows.num_rows
        texts: Array = rows.column(self.plan.cursor).combine_chunks()
        whole, timed = whole_ranks(texts), time_ranks(texts, self.plan.time_zone)
        self._whole |= whole.null_count < len(whole)
        self._timed |= timed.null_count < len(timed)
        ranks = pc.coalesce(whole, timed)
        if self._unranked is None and ranks.null_count > texts.null_count:
            self._unranked = texts.filter(pc.and_(pc.is_null(ranks), pc.is_valid(texts)))[0].as_py()
        found: list[int | None] = ranks.to_pylist()
        return found

    def finish(self) -> None:
        """All is loaded. Raises ConfigurationError when nothing orders the cursor."""
        self._connection.execute("COMMIT")
        cursor = self.plan.cursor
        mend = "name another cursor, or none: a file that changed is read whole anyway"
        if self._whole and self._timed:
            raise ConfigurationError(
                f'{self._where}: the cursor "{cursor}" holds both numbers and times; {mend}',
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        if self._unranked is not None and not (self._whole or self._timed):
            raise ConfigurationError(
                f'{self._where}: the cursor "{cursor}" must hold whole numbers, dates (2026-01-31) or'
                f' date-times (2026-01-31 12:00:00), not "{self._unranked[:60]}"; {mend}',
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )

    def select(self, plan: ReadPlan, selection: Selection) -> SpillCursor:
        """The rows of the selection, in its order; of rows with one key the last."""
        key = tuple(self._names[name] for name in plan.key)
        relation = self._relation(self._source(key))
        shown = (*(self._names[name] for name in plan.columns), *((_UNREADABLE,) if self._unreadable else ()))
        inner = replace(plan, columns=shown, key=key, cursor=None if plan.cursor is None else _CURSOR)
        if isinstance(selection, ExactKeys):
            self._keep_keys(plan, key, selection)
        if isinstance(selection, Since):
            selection = self._comparable(selection)
        if plan.cursor is not None:
            self._index((_CURSOR, *key))
        statement = compose_select(relation, inner, selection, self._bound_value)
        return SpillCursor(self._connection.execute(statement.sql, statement.values), plan)

    def close(self) -> None:
        """The copy is gone."""
        self._connection.close()

    def _comparable(self, selection: Since) -> Since:
        """A position that was saved when the cursor held values of another kind says nothing: all is read."""
        if selection.after is None or is_whole(selection.after.cursor) != self._timed:
            return selection
        return replace(selection, after=None)

    def _relation(self, source: str) -> SqliteRelation:
        columns = [_column(at, numeric=name in self.plan.numeric) for name, at in self._names.items()]
        columns += [_column(_CURSOR, numeric=True), _column(_UNREADABLE, numeric=False)]
        facts = TableFacts(columns=tuple(c.facts for c in columns), primary_key=(), fingerprint="")
        return SqliteRelation(source=source, facts=facts, columns=tuple(columns))

    def _source(self, key: tuple[str, ...]) -> str:
        """What to select from: the last row of each key (rows with a part of it null have no equal)."""
        known = self._sources.get(key)
        if known is None:
            known = self._sources[key] = self._without_superseded(key)
        return known

    def _without_superseded(self, key: tuple[str, ...]) -> str:
        at = len(self._sources)
        try:
            self._connection.execute(f"CREATE UNIQUE INDEX by_key_{at} ON t ({', '.join(key)})")
        except sqlite3.IntegrityError:
            self._index(key)
        else:
            return "t"
        same = " AND ".join(f"later.{name} = t.{name}" for name in key)
        self._connection.execute(f"CREATE TABLE superseded_{at} (id INTEGER PRIMARY KEY)")
        found = self._connection.execute(
            f"INSERT INTO superseded_{at} SELECT rowid FROM t"
            f" WHERE EXISTS (SELECT 1 FROM t AS later WHERE {same} AND later.rowid > t.rowid)"
        )
        log.warning("rows with one key: the last of each counts", table=self._where, rows=found.rowcount)
        return f"(SELECT * FROM t WHERE rowid NOT IN (SELECT id FROM superseded_{at}))"

    def _index(self, columns: Sequence[str]) -> None:
        name = "by_" + "_".join(columns)
        self._connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON t ({', '.join(columns)})")

    def _bound_value(self, name: str, text: str) -> Value:
        if name != _CURSOR:
            return typed_value(text, numeric=any(self._names[n] == name for n in self.plan.numeric))
        rank = rank_of(text, self.plan.time_zone)
        if rank is None:
            raise SourceDriftError(
                f'{self._where}: the cursor "{self.plan.cursor}" cannot be compared with "{text}"'
            )
        return rank

    def _keep_keys(self, plan: ReadPlan, key: tuple[str, ...], selection: ExactKeys) -> None:
        """The keys are in `temp.headrace_keys` as the files write them: those that they do not have so are
        looked for by value, since a text file may write 7 as 007."""
        columns = ", ".join(f"k{at}" for at in range(len(key)))
        marks = ", ".join("?" for _ in key)
        execute = self._connection.execute
        execute("DROP TABLE IF EXISTS temp.headrace_keys")
        execute(f"CREATE TEMP TABLE headrace_keys ({columns})")
        insert = f"INSERT INTO temp.headrace_keys VALUES ({marks})"
        wanted = list(dict.fromkeys(selection.keys))
        self._connection.executemany(insert, [list(map(self._bound_value, key, texts)) for texts in wanted])
        same = " AND ".join(f"t.{name} = k{at}" for at, name in enumerate(key))
        there = f"SELECT count(*) FROM temp.headrace_keys WHERE EXISTS (SELECT 1 FROM t WHERE {same})"
        if execute(there).fetchone()[0] < len(wanted):
            for found in self._keys_like(plan, key, wanted):
                self._connection.executemany(insert, found)

    def _keys_like(
        self, plan: ReadPlan, key: tuple[str, ...], wanted: Sequence[tuple[str, ...]]
    ) -> Iterator[list[tuple[Any, ...]]]:
        asked = pa.table([pa.array(c, pa.string()) for c in zip(*wanted, strict=True)], names=list(key))
        values = loose_keys(asked, plan.time_zone)
        there = self._connection.execute(f"SELECT {', '.join(key)} FROM t")
        while rows := there.fetchmany(_KEYS_AT_ONCE):
            texts = [text_column(cells) for cells in zip(*rows, strict=True)]
            like = pc.is_in(loose_keys(pa.table(texts, names=list(key)), plan.time_zone), value_set=values)
            found = pc.indices_nonzero(like)
            yield list(zip(*(column.take(found).to_pylist() for column in texts), strict=True))


class SpillCursor:
    """The rows of one selection."""

    def __init__(self, cursor: sqlite3.Cursor, plan: ReadPlan) -> None:
        self._cursor = cursor
        self._plan = plan

    def take(self, rows: int) -> Table | None:
        """The next rows, at most so many, as utf8 columns of the plan's; None at the end. A line that is no
        row has its mark in the first column of the key."""
        taken = self._cursor.fetchmany(rows)
        if not taken:
            return None
        texts = [text_column(values) for values in zip(*taken, strict=True)]
        names = list(self._plan.columns)
        if len(texts) > len(names):
            first = names.index(self._plan.key[0])
            texts[first] = pc.coalesce(_as_text(texts[first]), _as_text(texts.pop()))
        return pa.Table.from_arrays([_as_text(text) for text in texts], names=names)

    def close(self) -> None:
        self._cursor.close()


def _as_text(column: Array) -> Array:
    return column if column.type == pa.string() else column.cast(pa.string())


def _column(name: str, *, numeric: bool) -> SqliteColumn:
    facts = ColumnFacts(
        name=name,
        native_type="INTEGER" if numeric else "TEXT",
        type=PropertyType.INTEGER if numeric else PropertyType.STRING,
        nullable=True,
        portable_order=True,
    )
    return SqliteColumn(facts=facts, affinity="integer" if numeric else "text")
