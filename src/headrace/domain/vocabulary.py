"""The closed vocabularies: property types, aggregations, kinds of batches, classes, and ids."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NewType

import pyarrow as pa

FeedId = NewType("FeedId", str)
BatchId = NewType("BatchId", str)
LogId = NewType("LogId", str)
LeaseId = NewType("LeaseId", str)
RunId = NewType("RunId", str)
DataSourceId = NewType("DataSourceId", str)
ModelId = NewType("ModelId", str)
SourceId = NewType("SourceId", str)
AppId = NewType("AppId", str)


class PropertyType(StrEnum):
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    STRING = "string"
    EMAIL = "email"
    PHONE = "phone"
    URL = "url"
    DATE = "date"
    DATETIME = "datetime"
    JSON = "json"


TEXT_TYPES: Final = frozenset({PropertyType.STRING, PropertyType.EMAIL, PropertyType.PHONE, PropertyType.URL})

ARROW_TYPES: Final[dict[PropertyType, pa.DataType]] = {
    PropertyType.BOOLEAN: pa.bool_(),
    PropertyType.INTEGER: pa.int64(),
    PropertyType.FLOAT: pa.float64(),
    PropertyType.DECIMAL: pa.string(),  # canonical: plain notation, no trailing zeros, no "-0"
    PropertyType.STRING: pa.string(),
    PropertyType.EMAIL: pa.string(),
    PropertyType.PHONE: pa.string(),
    PropertyType.URL: pa.string(),
    PropertyType.DATE: pa.date32(),
    PropertyType.DATETIME: pa.timestamp("us", tz="UTC"),
    PropertyType.JSON: pa.string(),  # canonical: keys sorted, no spaces
}
"""How a coerced value of each type travels from the fetch step to the store."""


class Aggregation(StrEnum):
    VALUE = "value"
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVERAGE = "average"
    MIN = "min"
    MAX = "max"
    MOST_RECENT = "most_recent"
    LEAST_RECENT = "least_recent"
    LIST = "list"


class FilterOp(StrEnum):
    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    STARTS_WITH = "starts_with"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"


class BatchKind(StrEnum):
    LOAD = "load"
    """Rows of a feed's first stream: a hint that they are new."""
    ROWS = "rows"
    """Rows that changed, and deletes by key."""
    KEYS = "keys"
    """The keys of one chunk of a reconciliation."""
    DROP = "drop"
    """A customer leaves this data source."""


class FeedClass(StrEnum):
    EXACT = "exact"
    BOUNDED = "bounded"
    EVENTUAL = "eventual"

    def is_less_than(self, other: FeedClass) -> bool:
        """It promises less."""
        order = list(FeedClass)
        return order.index(self) > order.index(other)


# Columns that every batch of rows carries beside those of its source's shape.
CUSTOMER: Final = "_customer_id"
DELETED: Final = "_deleted"
INVALID: Final = "_invalid"
APP: Final = "_app"

# Columns that every record carries beside its properties, its customer and what did not fit.
CREATED: Final = "_created_at"
UPDATED: Final = "_updated_at"
