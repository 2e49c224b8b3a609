"""The `users` table of the benchmarks: nine columns, about 114 bytes a row."""

from __future__ import annotations

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
       timestamptz '2024-01-01 00:00:00+00' + (i / 3) * interval '41.000001 seconds'
  FROM generate_series(1::bigint, {rows}) AS i
"""


def make(url: str, count: int) -> None:
    """The table with `count` rows, its index on (updated_at, id), and statistics."""
    run(
        url,
        TABLE,
        FILL.format(rows=int(count)),
        "CREATE INDEX users_updated_at_id_idx ON users (updated_at, id)",
        "VACUUM ANALYZE users",
        "CHECKPOINT",
    )


def checksum(url: str, table: str, columns: tuple[str, ...] = COLUMNS) -> tuple[int, int]:
    """Number of rows, and a sum over hashes of all their values: equal when the rows are, in any order."""
    values = ", ".join("trim_scale(ltv)" if c == "ltv" else f'"{c}"' for c in columns)
    ((count, total),) = rows(
        url, f"SELECT count(*), coalesce(sum(hashtextextended(ROW({values})::text, 0)), 0) FROM {table}"
    )
    return int(count), int(total)
