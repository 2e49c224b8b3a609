"""Tables of the source that change shape or lose many rows while they are read."""

from __future__ import annotations

import random
from typing import ClassVar

import psycopg

from tests.faults import shop
from tests.faults.changes import Changes
from tests.faults.kind import Kind
from tests.faults.plan import Fault, KindPlan
from tests.faults.site import Site
from tests.faults.writers import Writers


class TableFault(Kind):
    """Beginning waits for locks, ending takes `headrace apply` and `resume`."""

    by_operator = True


class UnusedColumn(TableFault):
    """A column that no definition knows comes and goes."""

    plan = KindPlan(
        name="unused column added and dropped",
        targets=("purchases", "accounts"),
        lasts_s=(2.0, 4.0),
        occupies="table {target}",
    )

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _alter(
            site, writers, fault.target, f"ADD COLUMN IF NOT EXISTS extra_{fault.seed} text DEFAULT 'none'"
        )

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        _alter(site, writers, fault.target, f"DROP COLUMN IF EXISTS extra_{fault.seed}")
        _operate(site, fault.target)


class WiderType(TableFault):
    """A column that is used gets a wider type; the operator applies it."""

    plan = KindPlan(
        name="used column widened",
        targets=("purchases", "accounts"),
        lasts_s=(1.0, 3.0),
        occupies="table {target}",
    )
    columns: ClassVar = {"purchases": "item", "accounts": "name"}

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        with psycopg.connect(site.shop_url) as source:
            (length,) = source.execute(
                "SELECT character_maximum_length FROM information_schema.columns"
                " WHERE table_name = %s AND column_name = %s",
                (fault.target, column),
            ).fetchone() or (0,)
        _alter(site, writers, fault.target, f"ALTER COLUMN {column} TYPE varchar({length + 1})")

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        _operate(site, fault.target)


class RenamedColumn(TableFault):
    """A column that is used has another name for a while; then the operator resumes the feed."""

    plan = KindPlan(
        name="used column renamed and back",
        targets=("purchases", "accounts"),
        lasts_s=(2.0, 5.0),
        occupies="table {target}",
    )
    columns: ClassVar = {"purchases": "amount", "accounts": "seats"}

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        _alter(site, writers, fault.target, f"RENAME COLUMN {column} TO {column}_renamed")

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        if _has_column(site, fault.target, f"{column}_renamed"):
            _alter(site, writers, fault.target, f"RENAME COLUMN {column}_renamed TO {column}")
        _operate(site, fault.target)


class BulkDelete(TableFault):
    plan = KindPlan(name="many rows deleted", targets=shop.SOURCES, occupies="table {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        with (
            writers.window(fault.target),
            psycopg.connect(site.shop_url, autocommit=True, options="-c lock_timeout=2s") as source,
        ):
            Changes(source, random.Random(fault.seed)).bulk_delete(fault.target)


def _alter(site: Site, writers: Writers, table: str, change: str) -> None:
    """As online as it gets: it waits a little for its lock, and is tried again."""
    with (
        writers.window(table),
        psycopg.connect(site.shop_url, autocommit=True, options="-c lock_timeout=2s") as source,
    ):
        source.execute(f"ALTER TABLE {table} {change}".encode())


def _has_column(site: Site, table: str, column: str) -> bool:
    with psycopg.connect(site.shop_url) as source:
        found = source.execute(
            "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
            (table, column),
        ).fetchone()
    return found is not None


def _operate(site: Site, table: str) -> None:
    """What an operator does after a change of a source: apply, and resume what drift has paused."""
    site.project.headrace("apply")
    with psycopg.connect(site.control_url) as control:
        paused = control.execute(
            "SELECT 1 FROM feed WHERE source_id = %s AND state = 'active' AND paused", (table,)
        ).fetchone()
    if paused:
        site.project.headrace("resume", table)
