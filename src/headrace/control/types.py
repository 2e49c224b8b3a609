"""Column types and expressions that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


class Timestamp(sa.types.TypeDecorator[datetime]):
    """An aware date-time in UTC: `timestamptz` on PostgreSQL, on SQLite text of fixed width
    (`YYYY-MM-DDTHH:MM:SS.fffZ`), which compares as the times do."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
"""A JSON value; Python's None is SQL's NULL."""

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A generated number; on SQLite the alias of the rowid."""


class TimeFromNow(FunctionElement[datetime]):
    """The database's clock at the start of the statement, plus a number of seconds.

    Leases and due times are only ever set and compared with it: clocks of workers do not count.
    """

    type = Timestamp()
    inherit_cache = True
    name = "time_from_now"


@compiles(TimeFromNow, "postgresql")
def _on_postgresql(element: TimeFromNow, compiler: SQLCompiler, **kw: Any) -> str:
    # Not clock_timestamp(), which is volatile: no index could serve a comparison with it.
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => {seconds}))"


@compiles(TimeFromNow, "sqlite")
def _on_sqlite(element: TimeFromNow, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('%+.3f seconds', {seconds}))"


def from_now(seconds: float | sa.BindParameter[float]) -> TimeFromNow:
    if isinstance(seconds, sa.BindParameter):
        return TimeFromNow(seconds)
    return TimeFromNow(sa.bindparam(None, float(seconds), sa.Double()))


def seconds_named(name: str) -> sa.BindParameter[float]:
    """The parameter of a statement that is built once."""
    return sa.bindparam(name, type_=sa.Double())


def now() -> TimeFromNow:
    return from_now(0.0)
