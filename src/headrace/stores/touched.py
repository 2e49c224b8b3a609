"""What a merge has touched for each secondary source, kept in temporary tables until the recompute."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.domain.shape import Column, SourceShape
from headrace.domain.vocabulary import CUSTOMER, SourceId
from headrace.stores.dialect import Binds
from headrace.stores.frame import Frame, Temp
from headrace.stores.layout import mapping_of

VALUE = "_value"


@dataclass(slots=True)
class Touched:
    """For a source, the mapped values whose staged rows changed (`values`: under which customer),
    and the records that are new or whose mapped property changed (`records`: by key).

    The two are kept apart because of fan-out: a changed value concerns every record that has it, a
    new record only itself.
    """

    frame: Frame
    values: dict[SourceId, Temp] = field(default_factory=dict)
    records: dict[SourceId, Temp] = field(default_factory=dict)

    def add_values(self, source: SourceShape, select: str, binds: Binds | None = None) -> None:
        """Note the (customer, value) that the statement selects."""
        if source.id not in self.values:
            columns = [(CUSTOMER, self.frame.dialect.text), (VALUE, self._value_type(source))]
            self.values[source.id] = self.frame.make_temp("touched", columns)
        self.frame.run(f"INSERT INTO {self.values[source.id].name} {select}", binds)

    def add_records(self, source: SourceShape, select: str, binds: Binds | None = None) -> None:
        """Note the records that the statement selects: customer, then key."""
        frame = self.frame
        if source.id not in self.records:
            columns = [(CUSTOMER, frame.dialect.text), *frame.typed(frame.model.key)]
            self.records[source.id] = frame.make_temp("dirty", columns)
        frame.run(f"INSERT INTO {self.records[source.id].name} {select}", binds)

    def pulls(self, source: SourceShape) -> bool:
        """Whether records can have, or have had until now, rows of the source behind them."""
        frame = self.frame
        return source.id in self.values or frame.exists(f"SELECT 1 FROM {frame.staged(source)}")

    def _value_type(self, source: SourceShape) -> str:
        return self.frame.dialect.types[mapped_column(source).type]


def mapped_column(source: SourceShape) -> Column:
    """The staged column by which a secondary source's rows belong to records."""
    name = mapping_of(source).column
    return next(c for c in source.columns if c.name == name)


def mapped_property(source: SourceShape) -> str:
    """The property of the records that the mapped column equals."""
    return mapping_of(source).property
