"""The `users` table of the benchmarks: nine columns, about 114 bytes a row."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cache, partial

from benchmarks.database import rows, run

COLUMNS = (
    "id",
    "email",
    "first_name",
    "last_name",
    "plan",
    "ltv",
    "is_active",
    "created_at",
    "updated_at",
)

TABLE = """
CREATE TABLE users (
  id bigint PRIMARY KEY, email text, first_name text, last_name text, plan text, ltv numeric(12,2),
  is_active bool, created_at timestamptz, updated_at timestamptz)
"""

# However a target keeps them: with another scale, or as a time without its zone.
_CANONICAL = {
    "ltv": "trim_scale(ltv)",
    "created_at": "created_at::timestamptz",
    "updated_at": "updated_at::timestamptz",
}

# Nulls, empty texts, and ties of three on updated_at, as in any table.
FILL = """
INSERT INTO users
SELECT i,
       'user' || i || '@example.com',
       (ARRAY['Ada','Grace','Edsger','Barbara','Donald','Ünal','','O''Neil'])[1 + i % 8],
       CASE WHEN i % 17 = 0 THEN NULL ELSE 'Family' || (i * 7919) % 100003 END,
       (ARRAY['free','basic','pro','enterprise'])[1 + i % 4],
       ((i * 7919) % 1000000) / 100.0,
       i % 3 <> 0,
       timestamptz '2023-01-01 00:00:00+00' + i * interval '13.37 seconds',
       timestamptz '2024-01-01 00:00:00+00' + (i / 3) * interval '1 second' * ({span_s} / ({rows} / 3 + 1))
  FROM generate_series(1::bigint, {rows}) AS i
"""


SPAN_S = 13_666_666.9
"""From the first row's cursor to the last one's, however many rows there are: those in the future would be
read in a lane of their own."""

CHANGE = """
UPDATE users SET plan = CASE plan WHEN 'pro' THEN 'basic' ELSE 'pro' END, ltv = ltv + 1, updated_at = now()
 WHERE id IN (SELECT id FROM users ORDER BY random() LIMIT {changed})
"""


def fill(count: int) -> str:
    return FILL.format(rows=int(count), span_s=SPAN_S)


def make(url: str, count: int) -> None:
    """The table with `count` rows, its index on (updated_at, id), and statistics."""
    run(
        url,
        TABLE,
        fill(count),
        "CREATE INDEX users_updated_at_id_idx ON users (updated_at, id)",
        "VACUUM ANALYZE users",
        "CHECKPOINT",
    )


def change(url: str, count: int, *, share: int) -> None:
    """One row of `share`, at random, is updated, all in one transaction.

    VACUUM does what autovacuum would before long: else whoever reads first would pay for it.
    """
    run(url, CHANGE.format(changed=count // share), "VACUUM ANALYZE users", "CHECKPOINT")


class Form(StrEnum):
    """How values are compared."""

    EXACT = "exact"
    EMPTY_IS_NULL = "empty texts as null"


Checksum = tuple[int, int]


def checksum(url: str, table: str, form: Form = Form.EXACT) -> Checksum:
    """Number of rows, and a sum over hashes of all their values: equal when the rows are, in any order."""
    values = ", ".join(_value(column, form) for column in COLUMNS)
    ((count, total),) = rows(
        url, f"SELECT count(*), coalesce(sum(hashtextextended(ROW({values})::text, 0)), 0) FROM {table}"
    )
    return int(count), int(total)


def wanted(source_url: str) -> Callable[[Form], Checksum]:
    """The source's, as it is when it is first asked for."""
    return cache(partial(checksum, source_url, "users"))


def _value(column: str, form: Form) -> str:
    if form is Form.EMPTY_IS_NULL and column in ("first_name", "last_name"):
        return f"NULLIF({column}, '')"
    return _CANONICAL.get(column, column)
