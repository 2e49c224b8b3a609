"""The `purchases` of the benchmarks: rows of a secondary source, about ten to each user."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.aggregate import Aggregate
from benchmarks.database import rows, run

COLUMNS = ("id", "buyer_id", "amount", "quantity", "item", "bought_at", "updated_at")
TABLE = """
CREATE TABLE purchases (
  id bigint PRIMARY KEY, buyer_id bigint, amount numeric(12,2), quantity integer, item text COLLATE "C",
  bought_at timestamptz, updated_at timestamptz)
"""

# A fiftieth of the users has none, as many buyers are not known, one row of 101 has no buyer, one of 13 no
# amount, and two are bought at one time.
_FILL = """
INSERT INTO purchases
SELECT i,
       CASE WHEN i % 101 <> 0 THEN {users} / 50 + 1 + (i * 7919) % {users} END,
       CASE WHEN i % 13 <> 0 THEN ((i * 6007) % 100000) / 100.0 END,
       1 + (i * 31) % 9,
       'item ' || (i * 104729) % 1009,
       timestamptz '2023-01-01 00:00:00+00' + ((i * 7907) % {rows} / 2) * interval '13.37 seconds',
       timestamptz '2024-01-01 00:00:00+00' + (i / 3) * interval '1 second'
  FROM generate_series(1::bigint, {rows}) AS i
"""
_CHANGE = """
UPDATE purchases SET amount = coalesce(amount, 0) + 1, item = 'item ' || id % 1013, updated_at = now()
 WHERE id IN (SELECT id FROM purchases ORDER BY random() LIMIT {changed})
"""


def make(url: str, count: int, *, users: int) -> None:
    """The table with `count` rows, its index on (updated_at, id), and statistics."""
    run(
        url,
        TABLE,
        _FILL.format(rows=int(count), users=int(users)),
        "CREATE INDEX purchases_updated_at_id_idx ON purchases (updated_at, id)",
        "VACUUM ANALYZE purchases",
        "CHECKPOINT",
    )


def change(url: str, count: int, *, share: int) -> None:
    """One row of `share`, at random, is updated, all in one transaction; VACUUM as in `users.change`."""
    run(url, _CHANGE.format(changed=count // share), "VACUUM ANALYZE purchases", "CHECKPOINT")


def expected(source_url: str, aggregates: Sequence[Aggregate]) -> tuple[int, int]:
    """The checksum of the records that the source's rows give: the LEFT JOIN of both tables."""
    values = ", ".join(f"{aggregate.by_hand} AS {aggregate.name}" for aggregate in aggregates)
    joined = "(SELECT id AS user_id FROM users) AS u LEFT JOIN purchases ON buyer_id = user_id"
    records = f"(SELECT user_id, {values} FROM {joined} GROUP BY user_id)"
    return found(source_url, records, "user_id", aggregates)


def found(url: str, table: str, key: str, aggregates: Sequence[Aggregate]) -> tuple[int, int]:
    """The checksum of records, in any order."""
    values = ", ".join(aggregate.canonical for aggregate in aggregates)
    hashed = f"hashtextextended(ROW({key}, {values})::text, 0)"
    ((count, total),) = rows(url, f"SELECT count(*), coalesce(sum({hashed}), 0) FROM {table} AS records")
    return int(count), int(total)
