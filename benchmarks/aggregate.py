"""The aggregates of W5 over `purchases`: as definitions of Headrace, and as SQL by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_BY_HAND = {
    "count": "count({column})",
    "count_distinct": "count(DISTINCT {column})",
    "sum": "coalesce(sum({column}), 0)",
    "average": "round(avg({column}), 10)",
    "min": "min({column})",
    "max": "max({column})",
    "most_recent": "(array_agg({column} ORDER BY bought_at DESC, id DESC))[1]",
    "least_recent": "(array_agg({column} ORDER BY bought_at, id))[1]",
}
_COLUMN_TYPES = {
    "id": "integer",
    "amount": "decimal",
    "quantity": "integer",
    "item": "string",
    "bought_at": "datetime",
}
_SQL_TYPES = {"integer": "bigint", "decimal": "numeric", "string": "text", "datetime": "timestamptz"}


@dataclass(frozen=True, slots=True)
class Aggregate:
    aggregation: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.aggregation}_{self.column}"

    @property
    def type(self) -> str:
        if self.aggregation.startswith("count"):
            return "integer"
        return "decimal" if self.aggregation == "average" else _COLUMN_TYPES[self.column]

    @property
    def definition(self) -> dict[str, Any]:
        ordered = {"order_by": "bought_at"} if self.aggregation.endswith("_recent") else {}
        return {"type": self.type, "aggregation": self.aggregation, "column": self.column, **ordered}

    @property
    def by_hand(self) -> str:
        """An expression in a query grouped by record."""
        return _BY_HAND[self.aggregation].format(column=self.column)

    @property
    def canonical(self) -> str:
        """The property's value, whatever scale it is kept with."""
        return f"trim_scale({self.name})" if self.type == "decimal" else self.name

    @property
    def column_of_record(self) -> str:
        """Its column in a table of records, as it is without rows."""
        default = " DEFAULT 0" if self.aggregation in ("count", "count_distinct", "sum") else ""
        return f"{self.name} {_SQL_TYPES[self.type]}{default}"


AGGREGATES = (
    Aggregate("count", "id"),
    Aggregate("sum", "amount"),
    Aggregate("average", "amount"),
    Aggregate("max", "bought_at"),
    Aggregate("most_recent", "item"),
    Aggregate("min", "amount"),
    Aggregate("count_distinct", "item"),
    Aggregate("least_recent", "item"),
    Aggregate("max", "quantity"),
    Aggregate("sum", "quantity"),
    Aggregate("average", "quantity"),
    Aggregate("min", "bought_at"),
    Aggregate("max", "amount"),
    Aggregate("min", "quantity"),
    Aggregate("count_distinct", "quantity"),
    Aggregate("most_recent", "amount"),
    Aggregate("least_recent", "amount"),
    Aggregate("most_recent", "quantity"),
    Aggregate("count", "item"),
    Aggregate("max", "item"),
)
"""W5 has the first five; how it grows with properties, up to all."""
