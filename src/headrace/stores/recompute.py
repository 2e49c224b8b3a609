"""Recomputing the properties of touched records from the staged rows, in dependency order.

Per source: aggregate once per distinct (customer, mapped value), find the records that differ, write
those. A value whose staged rows changed concerns every record that has it (found by the index on
customer and property); a new or moved record is looked up by its key, so many new records that share
one value cost one aggregation and no visit to the records that were there.
"""

from __future__ import annotations

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import CUSTOMER, INVALID, PropertyType
from headrace.stores.aggregation import AGGREGATED, aggregate_expressions
from headrace.stores.dialect import empty_value
from headrace.stores.frame import Frame, Temp, names_of
from headrace.stores.layout import UPDATED
from headrace.stores.touched import VALUE, Touched, mapped_column, mapped_property

_WIDE = "_wide"


class Recompute:
    """Recomputes what `touched` holds."""

    def __init__(self, frame: Frame, touched: Touched) -> None:
        self._frame = frame
        self._touched = touched
        self._record_key = (CUSTOMER, *names_of(frame.model.key))

    def run(self) -> int:
        """The number of writes of records; what was touched is forgotten."""
        return sum(self._recompute(position) for position in range(1, len(self._frame.model.sources)))

    def _recompute(self, position: int) -> int:
        source = self._frame.model.sources[position]
        values = self._touched.values.pop(source.id, None)
        records = self._touched.records.pop(source.id, None)
        if (values is None and records is None) or not source.properties:
            return 0
        aggregated = self._aggregate(source, values, records)
        changes = self._find_changes(source, aggregated, values=values, records=records)
        written = self._write(source, changes)
        if written:
            self._pass_on(position, changes)
        for temp in filter(None, (values, records, aggregated, changes)):
            self._frame.drop_temp(temp)
        return written

    def _aggregate(self, source: SourceShape, values: Temp | None, records: Temp | None) -> Temp:
        frame, q, dialect = self._frame, self._frame.q, self._frame.dialect
        mapped = mapped_column(source)
        columns = [
            (CUSTOMER, dialect.text),
            (VALUE, dialect.types[mapped.type]),
            (_WIDE, dialect.types[PropertyType.INTEGER]),
            *((p.name, dialect.types[p.type]) for p in source.properties),
            (AGGREGATED, dialect.json),
        ]
        table = frame.make_temp("aggregated", columns)
        binds = frame.binds()
        expressions = aggregate_expressions(binds, source, alias="s")
        wanted = " UNION ALL ".join(self._wanted(source, values, records))
        group = f"v.{q(CUSTOMER)}, v.{q(VALUE)}"
        # Values differ more than customers do: a sort has less to compare.
        by = f"v.{q(VALUE)}, v.{q(CUSTOMER)}"
        distinct = (
            f"SELECT w.{q(CUSTOMER)}, w.{q(VALUE)}, max(w.{q(_WIDE)}) AS {q(_WIDE)} FROM ({wanted}) AS w"
            f" GROUP BY w.{q(CUSTOMER)}, w.{q(VALUE)}"
        )
        frame.run(
            f"INSERT INTO {table.name} SELECT {group}, max(v.{q(_WIDE)}), {', '.join(expressions)}"
            f" FROM ({distinct}) AS v LEFT JOIN {frame.staged(source)} AS s"
            f" ON s.{q(CUSTOMER)} = v.{q(CUSTOMER)} AND s.{q(mapped.name)} = v.{q(VALUE)}"
            f" GROUP BY {by}",
            binds,
        )
        return table

    def _wanted(self, source: SourceShape, values: Temp | None, records: Temp | None) -> list[str]:
        """Selects of customer, value, and 1 where every record with the value is concerned."""
        frame, q = self._frame, self._frame.q
        selects = []
        if values:
            wide = f"1 AS {q(_WIDE)}"
            selects.append(f"SELECT t.{q(CUSTOMER)}, t.{q(VALUE)}, {wide} FROM {values.name} AS t")
        if records:
            mapped = f"r.{q(mapped_property(source))}"
            selects.append(
                f"SELECT r.{q(CUSTOMER)}, {mapped} AS {q(VALUE)}, 0 AS {q(_WIDE)}"
                f" FROM {records.name} AS d {frame.dialect.driving_join} {frame.records} AS r"
                f" ON {frame.equal(self._record_key, 'r', 'd')} WHERE {mapped} IS NOT NULL"
            )
        return selects

    def _find_changes(
        self, source: SourceShape, aggregated: Temp, *, values: Temp | None, records: Temp | None
    ) -> Temp:
        """Key and new values of the records that differ."""
        frame, dialect = self._frame, self._frame.dialect
        columns = [
            (CUSTOMER, dialect.text),
            *frame.typed(frame.model.key),
            *((p.name, dialect.types[p.type]) for p in source.properties),
            (INVALID, dialect.json),
        ]
        changes = frame.make_temp("changes", columns)
        if values:
            self._add_changes(source, changes, self._concerned_by_value(source, aggregated))
        if records:
            self._add_changes(source, changes, self._concerned_by_key(source, aggregated, records))
        return changes

    def _concerned_by_value(self, source: SourceShape, aggregated: Temp) -> str:
        frame, q = self._frame, self._frame.q
        return (
            f"FROM {aggregated.name} AS a {frame.dialect.driving_join} {frame.records} AS r"
            f" ON r.{q(CUSTOMER)} = a.{q(CUSTOMER)} AND r.{q(mapped_property(source))} = a.{q(VALUE)}"
            f" WHERE a.{q(_WIDE)} = 1"
        )

    def _concerned_by_key(self, source: SourceShape, aggregated: Temp, records: Temp) -> str:
        frame, q = self._frame, self._frame.q
        distinct = f"SELECT DISTINCT {frame.names(self._record_key)} FROM {records.name}"
        return (
            f"FROM ({distinct}) AS d {frame.dialect.driving_join} {frame.records} AS r"
            f" ON {frame.equal(self._record_key, 'r', 'd')} LEFT JOIN {aggregated.name} AS a"
            f" ON a.{q(CUSTOMER)} = r.{q(CUSTOMER)} AND a.{q(VALUE)} = r.{q(mapped_property(source))}"
            f" WHERE COALESCE(a.{q(_WIDE)}, 0) = 0"
        )

    def _add_changes(self, source: SourceShape, changes: Temp, concerned: str) -> None:
        frame, q, dialect = self._frame, self._frame.q, self._frame.dialect
        binds = frame.binds()
        new = {
            p.name: f"CASE WHEN a.{q(CUSTOMER)} IS NULL THEN {empty_value(p)} ELSE a.{q(p.name)} END"
            for p in source.properties
        }
        new[INVALID] = dialect.merged_invalid(
            binds,
            old=f"r.{q(INVALID)}",
            names=[p.name for p in source.properties],
            new=f"a.{q(AGGREGATED)}",
        )
        differs = " OR ".join(dialect.differs(f"r.{q(c)}", f"({v})") for c, v in new.items())
        selected = ", ".join([frame.names(self._record_key, "r"), *new.values()])
        frame.run(f"INSERT INTO {changes.name} SELECT {selected} {concerned} AND ({differs})", binds)

    def _write(self, source: SourceShape, changes: Temp) -> int:
        frame, q = self._frame, self._frame.q
        written = (*(p.name for p in source.properties), INVALID)
        assigned = ", ".join(f"{q(c)} = c.{q(c)}" for c in written)
        frame.events.note(f"SELECT {frame.names(self._record_key)} FROM {changes.name}")
        return frame.run(
            f"UPDATE {frame.records} AS r SET {assigned}, {q(UPDATED)} = {frame.dialect.now}"
            f" FROM {changes.name} AS c WHERE {frame.equal(self._record_key, 'r', 'c')}"
        )

    def _pass_on(self, position: int, changes: Temp) -> None:
        """A later source that is mapped to a property of this one looks at the changed records."""
        frame = self._frame
        fed = {p.name for p in frame.model.sources[position].properties}
        for later in frame.model.sources[position + 1 :]:
            if mapped_property(later) in fed and self._touched.pulls(later):
                keys = frame.names(self._record_key)
                self._touched.add_records(later, f"SELECT {keys} FROM {changes.name}")
