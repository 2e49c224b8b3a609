"""W5: rows of a secondary source onto records with aggregates; first all of them, then those that changed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import purchases, users
from benchmarks.aggregate import AGGREGATES, Aggregate
from benchmarks.database import database, rows, run, settle
from benchmarks.measured import Measured, run_measured
from benchmarks.ours import sync
from benchmarks.outcome import Result
from benchmarks.project import define, write
from benchmarks.reference import PSQL
from benchmarks.work import Task

FIVE = AGGREGATES[:5]
PROPERTIES = (1, 2, 5, 10, 20)
ROWS_A_RECORD = 10
CHANGED_SHARE = 10
"""One row of so many is updated."""


class Records(Protocol):
    """Records that have their users and none of their purchases yet."""

    def merge(self) -> Measured:
        """Those that changed since the last merge are in the records."""
        ...

    def checksum(self) -> tuple[int, int]: ...


Begin = Callable[[str, Path, Sequence[Aggregate]], AbstractContextManager[Records]]


def aggregation(task: Task) -> Iterator[Result]:
    """W5, with five properties."""
    with _source(task) as source_url:
        for number in task.rounds:
            yield from _round(task, source_url, number, FIVE, point=0)


def growth(task: Task) -> Iterator[Result]:
    """W5 as properties grow."""
    with _source(task) as source_url:
        for number in task.rounds:
            for properties in PROPERTIES:
                chosen = AGGREGATES[:properties]
                yield from _round(task, source_url, number, chosen, point=properties)


@contextmanager
def _source(task: Task) -> Iterator[str]:
    count = task.extent.count
    with database("source") as source_url:
        task.announce(f"making {count:,} purchases of {count // ROWS_A_RECORD:,} users")
        users.make(source_url, count // ROWS_A_RECORD)
        purchases.make(source_url, count, users=count // ROWS_A_RECORD)
        yield source_url


def _round(
    task: Task, source_url: str, number: int, aggregates: Sequence[Aggregate], *, point: float
) -> Iterator[Result]:
    """Everybody loads, the source changes, everybody follows."""
    with ExitStack() as stack:
        begun: list[tuple[str, Records]] = []
        ways: tuple[tuple[str, Begin], ...] = (("reference", by_hand), ("headrace", headrace))
        for name, begin in ways:
            directory = stack.enter_context(tempfile.TemporaryDirectory(dir=task.directory))
            begun.append((name, stack.enter_context(begin(source_url, Path(directory), aggregates))))
        wanted = purchases.expected(source_url, aggregates)
        loads = [(records.merge(), records.checksum() == wanted) for _, records in begun]
        purchases.change(source_url, task.extent.count, share=CHANGED_SHARE)
        wanted = purchases.expected(source_url, aggregates)
        for (name, records), (load, was_equal) in zip(begun, loads, strict=True):
            changed = records.merge()
            yield Result(
                peer=name,
                round=number,
                figures={
                    "load_s": load.wall_s,
                    "changed_s": changed.wall_s,
                    "load_cpu_s": load.cpu_s,
                    "changed_cpu_s": changed.cpu_s,
                    "peak_rss_mib": max(load.peak_rss_mib, changed.peak_rss_mib),
                },
                equal=was_equal and records.checksum() == wanted,
                point=point,
            )


# --- Headrace -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Merged:
    project: Path
    environment: dict[str, str]
    aggregates: Sequence[Aggregate]

    def merge(self) -> Measured:
        settle(self.environment["STORE_URL"])
        measured = sync(self.project, self.environment)
        run(self.environment["STORE_URL"], "VACUUM ANALYZE")  # as autovacuum leaves it
        return measured

    def checksum(self) -> tuple[int, int]:
        return purchases.found(self.environment["STORE_URL"], "headrace.users", "id", self.aggregates)


@contextmanager
def headrace(source_url: str, directory: Path, aggregates: Sequence[Aggregate]) -> Iterator[Merged]:
    """The users are synced; the source of purchases is defined after that."""
    with database("store") as store_url:
        define(directory)
        environment = {
            "SHOP_URL": source_url,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": f"sqlite:///{directory / 'control.db'}",
        }
        sync(directory, environment)
        run(store_url, "VACUUM ANALYZE")
        source = {
            "name": "Purchases",
            "model": "users",
            "app": "shop",
            "table": "public.purchases",
            "key": ["id"],
            "mapping": {"buyer_id": "id"},
            "schedule": {"every": "1m", "cursor": "updated_at", "clock": "database"},
            "properties": {aggregate.name: aggregate.definition for aggregate in aggregates},
        }
        write(directory, {"sources/purchases": source})
        yield Merged(directory, environment, aggregates)


# --- the same by hand ---------------------------------------------------------------------------


@dataclass(slots=True)
class ByHand:
    """COPY to a staging table, an upsert into the rows that are kept, one UPDATE from one GROUP BY.

    It keeps its position in memory, by what was committed before it began: enough where nobody writes.
    """

    source_url: str
    target_url: str
    directory: Path
    aggregates: Sequence[Aggregate]
    since: str = "-infinity"

    def merge(self) -> Measured:
        settle(self.target_url)
        until = rows(self.source_url, "SELECT max(updated_at)::text FROM purchases")[0][0]
        measured = run_measured(
            ["sh", "-c", _pipeline(self.since, self.aggregates)],
            directory=self.directory,
            environment={"SOURCE_URL": self.source_url, "TARGET_URL": self.target_url},
            log=self.directory / "by_hand.log",
        )
        self.since = until
        run(self.target_url, "VACUUM ANALYZE")
        return measured

    def checksum(self) -> tuple[int, int]:
        return purchases.found(self.target_url, "records", "id", self.aggregates)


@contextmanager
def by_hand(source_url: str, directory: Path, aggregates: Sequence[Aggregate]) -> Iterator[ByHand]:
    """The users are there."""
    with database("by_hand") as target_url:
        run(
            target_url,
            users.TABLE.replace("users", "records"),
            *(f"ALTER TABLE records ADD COLUMN {aggregate.column_of_record}" for aggregate in aggregates),
            purchases.TABLE,
            "CREATE INDEX ON purchases (buyer_id)",
        )
        columns = ", ".join(users.COLUMNS)
        read = f'{PSQL} -d {source_url} -c "COPY (SELECT {columns} FROM users) TO STDOUT"'
        written = f'{PSQL} -d {target_url} -c "COPY records ({columns}) FROM STDIN"'
        subprocess.run(["sh", "-c", f"{read} | {written}"], check=True)
        run(target_url, "VACUUM ANALYZE")
        yield ByHand(source_url, target_url, directory, aggregates)


def _pipeline(since: str, aggregates: Sequence[Aggregate]) -> str:
    columns = ", ".join(purchases.COLUMNS)
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in purchases.COLUMNS if name != "id")
    values = ", ".join(f"{aggregate.by_hand} AS {aggregate.name}" for aggregate in aggregates)
    written = ", ".join(f"{aggregate.name} = made.{aggregate.name}" for aggregate in aggregates)
    # All of them the first time, later those whose rows changed; none moves to another buyer here.
    touched = "" if since == "-infinity" else " WHERE buyer_id IN (SELECT buyer_id FROM stage)"
    read = f"COPY (SELECT {columns} FROM purchases WHERE updated_at > '{since}') TO STDOUT (FORMAT binary)"
    grouped = f"SELECT buyer_id, {values} FROM purchases{touched} GROUP BY buyer_id"
    statements = (
        "CREATE TEMP TABLE stage (LIKE purchases)",
        "COPY stage FROM STDIN (FORMAT binary)",
        "ANALYZE stage",
        f"INSERT INTO purchases SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {changes}",
        f"UPDATE records SET {written} FROM ({grouped}) AS made WHERE records.id = made.buyer_id",
    )
    commands = " ".join(f'-c "{statement}"' for statement in statements)
    return f'{PSQL} -d "$SOURCE_URL" -c "{read}" | {PSQL} -d "$TARGET_URL" {commands}'
