"""Computing anew what a source feeds, for every record: a table may have been written to by hand.

Records are taken piece by piece in the order of their key, each recomputed like any that was touched: so what
is right is not written, and temporary tables stay as small as those of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.domain.shape import Column, SourceShape
from headrace.domain.vocabulary import CUSTOMER, INVALID, PropertyType
from headrace.stores.frame import Frame, names_of
from headrace.stores.layout import UPDATED
from headrace.stores.recompute import Recompute
from headrace.stores.touched import Touched

PIECE_ROWS: Final = 50_000
_CUSTOMER_COLUMN: Final = Column(name=CUSTOMER, type=PropertyType.STRING, source_column=CUSTOMER)


class Repair:
    """Mends what one source feeds; its rows are right already."""

    def __init__(self, frame: Frame, touched: Touched, source: SourceShape) -> None:
        self._frame = frame
        self._touched = touched
        self._source = source
        self._key = (_CUSTOMER_COLUMN, *frame.model.key)

    def run(self) -> int:
        """The number of writes of records."""
        if self._source.primary:
            return self._drop_strange_entries()
        written, last = 0, self._take_after(None)
        while last is not None:
            written += Recompute(self._frame, self._touched).run()
            last = self._take_after(last)
        return written

    def _take_after(self, last: Sequence[str] | None) -> Sequence[str] | None:
        """The next records are touched; the key of the last of them, None when there are no more."""
        frame, binds = self._frame, self._frame.binds()
        order = ", ".join(frame.dialect.comparable(f"r.{frame.q(c.name)}", c.type) for c in self._key)
        where = ""
        if last is not None:
            bound = (binds.typed(text, c.type) for text, c in zip(last, self._key, strict=True))
            where = f" WHERE ({order}) > ({', '.join(bound)})"
        keys = frame.names(names_of(self._key), "r")
        piece = f"SELECT {keys} FROM {frame.records} AS r{where} ORDER BY {order}"
        self._touched.add_records(self._source, f"{piece} LIMIT {binds.add(PIECE_ROWS)}", binds)
        return self._last_taken()

    def _last_taken(self) -> Sequence[str] | None:
        frame, dialect = self._frame, self._frame.dialect
        texts = ", ".join(dialect.canonical_text(f"r.{frame.q(c.name)}", c.type) for c in self._key)
        order = ", ".join(f"{dialect.comparable(f'r.{frame.q(c.name)}', c.type)} DESC" for c in self._key)
        taken = self._touched.records[self._source.id].name
        found = frame.session.all(f"SELECT {texts} FROM {taken} AS r ORDER BY {order} LIMIT 1")
        return found[0] if found else None

    def _drop_strange_entries(self) -> int:
        """`_invalid` has entries of no property; those of the source's own were written with its rows."""
        frame, binds = self._frame, self._frame.binds()
        invalid = f"r.{frame.q(INVALID)}"
        kept = frame.dialect.invalid_within(binds, invalid, names_of(frame.model.columns))
        strange = f"{invalid} IS NOT NULL AND {frame.dialect.differs(invalid, kept)}"
        keys = frame.names(names_of(self._key), "r")
        frame.events.note(f"SELECT {keys} FROM {frame.records} AS r WHERE {strange}", binds)
        return frame.run(
            f"UPDATE {frame.records} AS r SET {frame.q(INVALID)} = {kept},"
            f" {frame.q(UPDATED)} = {frame.dialect.now}"
            f" WHERE {strange}",
            binds,
        )
