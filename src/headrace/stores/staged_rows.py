"""Applying rows of a secondary source to its staged table, noting the mapped values they touch."""

from __future__ import annotations

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, DELETED, INVALID, PropertyType
from headrace.ports import FeedScope
from headrace.stores.dialect import Binds
from headrace.stores.frame import Frame, Temp, names_of
from headrace.stores.touched import Touched, mapped_column

_KNOWN = "_known"
_OLD_CUSTOMER = "_old_customer"
_OLD_VALUE = "_old_value"


class StagedRows:
    """Writes only what differs. The key (with the app, where there are several) tells a row whatever
    its customer, so a row that changes customer is an update."""

    def __init__(self, frame: Frame, touched: Touched) -> None:
        self._frame = frame
        self._touched = touched

    def apply(self, scope: FeedScope, batch: Temp) -> None:
        delta = self._find_changes(scope, batch)
        self._touch(scope.source, delta)
        self._delete(scope, delta)
        self._update(scope, delta)
        self._insert(scope, delta)
        self._frame.drop_temp(delta)

    def _find_changes(self, scope: FeedScope, batch: Temp) -> Temp:
        """New rows, rows that differ, and known rows that are deleted; with what they were before."""
        frame, q, source = self._frame, self._frame.q, scope.source
        flag = frame.dialect.types[PropertyType.BOOLEAN]
        mapped = mapped_column(source)
        columns = [
            (CUSTOMER, frame.dialect.text),
            *frame.typed(source.columns),
            (INVALID, frame.dialect.json),
            (DELETED, flag),
            (_KNOWN, flag),
            (_OLD_CUSTOMER, frame.dialect.text),
            (_OLD_VALUE, frame.dialect.types[mapped.type]),
        ]
        delta = frame.make_temp("delta", columns)
        binds = frame.binds()
        invalid = frame.dialect.merged_invalid(binds, old="NULL", names=["_"], new=f"b.{q(INVALID)}")
        compared = (CUSTOMER, *(n for n in names_of(source.columns) if n not in names_of(source.key)))
        changed = [frame.dialect.differs(f"s.{q(c)}", f"b.{q(c)}") for c in compared]
        changed.append(frame.dialect.differs(f"s.{q(INVALID)}", f"({invalid})"))
        known = f"s.{q(CUSTOMER)} IS NOT NULL"
        selected = [
            frame.names((CUSTOMER, *names_of(source.columns)), "b"),
            invalid,
            frame.names([DELETED], "b"),
            known,
            frame.names([CUSTOMER, mapped.name], "s"),
        ]
        frame.run(
            f"INSERT INTO {delta.name} SELECT {', '.join(selected)} FROM {batch.name} AS b"
            f" LEFT JOIN {frame.staged(source)} AS s ON {self._same(scope, binds, 's', 'b')}"
            f" WHERE CASE WHEN b.{q(DELETED)} THEN {known}"
            f" ELSE s.{q(CUSTOMER)} IS NULL OR {' OR '.join(changed)} END",
            binds,
        )
        return delta

    def _same(self, scope: FeedScope, binds: Binds, staged: str, other: str) -> str:
        on = self._frame.equal(names_of(scope.source.key), staged, other)
        if scope.source.many_apps:
            on += f" AND {staged}.{self._frame.q(APP)} = {binds.text(scope.app_id)}"
        return on

    def _touch(self, source: SourceShape, delta: Temp) -> None:
        q = self._frame.q
        value = q(mapped_column(source).name)
        self._touched.add_values(
            source,
            f"SELECT d.{q(_OLD_CUSTOMER)}, d.{q(_OLD_VALUE)} FROM {delta.name} AS d"
            f" WHERE d.{q(_OLD_VALUE)} IS NOT NULL"
            f" UNION SELECT d.{q(CUSTOMER)}, d.{value} FROM {delta.name} AS d"
            f" WHERE d.{value} IS NOT NULL AND NOT d.{q(DELETED)}",
        )

    def _delete(self, scope: FeedScope, delta: Temp) -> None:
        frame, binds = self._frame, self._frame.binds()
        on = f"{self._same(scope, binds, 'r', 'd')} AND d.{frame.q(DELETED)}"
        using = f"{delta.name} AS d"
        frame.run(frame.dialect.delete_joined(frame.staged(scope.source), using=using, on=on), binds)

    def _update(self, scope: FeedScope, delta: Temp) -> None:
        frame, q, source = self._frame, self._frame.q, scope.source
        binds = frame.binds()
        written = (CUSTOMER, *(c.name for c in source.columns if c not in source.key), INVALID)
        assigned = ", ".join(f"{q(c)} = d.{q(c)}" for c in written)
        frame.run(
            f"UPDATE {frame.staged(source)} AS s SET {assigned} FROM {delta.name} AS d"
            f" WHERE d.{q(_KNOWN)} AND NOT d.{q(DELETED)} AND {self._same(scope, binds, 's', 'd')}",
            binds,
        )

    def _insert(self, scope: FeedScope, delta: Temp) -> None:
        frame, q, source = self._frame, self._frame.q, scope.source
        binds = frame.binds()
        names = [CUSTOMER, *names_of(source.columns), INVALID]
        columns, values = frame.names(names), frame.names(names, "d")
        if source.many_apps:
            columns += f", {q(APP)}"
            values += f", {binds.text(scope.app_id)}"
        frame.run(
            f"INSERT INTO {frame.staged(source)} ({columns}) SELECT {values} FROM {delta.name} AS d"
            f" WHERE NOT d.{q(_KNOWN)} AND NOT d.{q(DELETED)}",
            binds,
        )
