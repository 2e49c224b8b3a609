"""What `headrace verify` finds in a data source, full reconciliations mend; `verify` says which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.project import execute, query
from tests.integration.command import Command
from tests.integration.test_verify import USERS, Shop, open_shop


@dataclass(frozen=True)
class Damaged:
    """A shop, its commands and the tables of its data source."""

    shop: Shop
    headrace: Command

    def damage(self, *statements: str) -> None:
        namespace = "" if self.shop.dialect == "sqlite" else "headrace."
        execute(self.shop.store_url, *(s.replace("@", namespace) for s in statements))

    def versions(self) -> list[list[tuple[Any, ...]]]:
        """Changes when any row of records or staged rows is written."""
        if self.shop.dialect == "sqlite":
            return [query(self.shop.store_url, "SELECT id, _updated_at FROM users ORDER BY id")]
        tables = ("users", "_staged_buys", "_staged_plans", "_staged_prices")
        return [
            query(self.shop.store_url, f"SELECT ctid, xmin FROM headrace.{table} ORDER BY ctid")
            for table in tables
        ]

    def buys(self) -> list[int]:
        """Keys of the staged rows."""
        namespace = "" if self.shop.dialect == "sqlite" else "headrace."
        rows = query(self.shop.store_url, f"SELECT id FROM {namespace}_staged_buys ORDER BY id")
        return [int(id_) for (id_,) in rows]

    def differing(self) -> int:
        (model,) = self.headrace("verify", "--json").json["models"]
        return len(model["differing"])


@pytest.fixture(params=["sqlite", "postgres"])
def damaged(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headrace: Command
) -> Iterator[Damaged]:
    for shop in open_shop(request, tmp_path, monkeypatch, {}):
        monkeypatch.setenv("HEADRACE_CONFIG_DIR", str(tmp_path / "config"))
        monkeypatch.setenv("HEADRACE_CONTROL_URL", f"sqlite:///{tmp_path}/control.db")
        monkeypatch.setattr("headrace.stores.repair.PIECE_ROWS", 7)
        yield Damaged(shop, headrace)


def test_full_reconciliations_mend_all_that_verify_finds(damaged: Damaged) -> None:
    no_object = "none" if damaged.shop.dialect == "sqlite" else "[]"
    damaged.damage(
        "UPDATE @users SET spent = '7', average = NULL WHERE id IN (8, 10)",
        "UPDATE @users SET items = '[]' WHERE id = 12",
        "UPDATE @users SET price = NULL WHERE id = 14",
        "UPDATE @users SET plan = 'other' WHERE id = 16",
        "UPDATE @users SET email = 'other@x.y' WHERE id = 3",
        "UPDATE @users SET plan_id = 2 WHERE id = 18",
        "UPDATE @users SET _invalid = NULL WHERE id = 6",
        """UPDATE @users SET _invalid = '{"email": {"value": "x"}, "spent": {"value": "y"}, "z": 1}'"""
        " WHERE id = 20",
        "UPDATE @users SET _invalid = '3' WHERE id = 22",
        f"UPDATE @users SET _invalid = '{no_object}' WHERE id = 26",
        "DELETE FROM @users WHERE id = 4",
        "INSERT INTO @users (_customer_id, id, _created_at, _updated_at)"
        " SELECT 'a', 777, _created_at, _updated_at FROM @users WHERE id = 3",
        "UPDATE @users SET _customer_id = 'b' WHERE id = 24",
        "UPDATE @_staged_buys SET amount = '9999' WHERE id = 0",
        "UPDATE @_staged_buys SET id = 5000 WHERE id = 9",
    )  # fmt: skip
    found = damaged.headrace("verify")
    assert found.code == 1, found.err
    commands = [f"headrace reconcile {source} --full" for source in ("users", "buys", "plans", "prices")]
    assert found.out.splitlines()[-1] == f"This mends what differs: {' && '.join(commands)}"

    for command in commands:
        ended = damaged.headrace(*command.split()[1:])
        assert ended.code == 0, ended

    mended = damaged.headrace("verify")
    assert mended.code == 0, mended.out
    assert "This mends" not in mended.out
    assert damaged.shop.verify().stored == USERS
    assert damaged.buys() == list(range(USERS * 3 // 2))


def test_a_full_reconciliation_writes_no_row_that_is_right(damaged: Damaged) -> None:
    before = damaged.versions()
    for source in ("users", "buys", "plans", "prices"):
        assert damaged.headrace("reconcile", source, "--full").code == 0
    assert damaged.versions() == before
    damaged.damage("UPDATE @users SET spent = '7' WHERE id = 8")
    assert damaged.differing() == 1
    hurt = damaged.versions()
    assert damaged.headrace("reconcile", "buys", "--full").code == 0
    (records, mended) = hurt[0], damaged.versions()[0]
    assert len(set(mended) - set(records)) == 1


def test_a_reconciliation_of_keys_computes_nothing_anew(damaged: Damaged) -> None:
    damaged.damage("UPDATE @users SET spent = '7' WHERE id = 8")
    for source in ("users", "buys"):
        assert damaged.headrace("reconcile", source).code == 0
    assert damaged.differing() == 1


def test_a_breaker_holds_what_is_too_much_while_the_rest_is_mended(damaged: Damaged) -> None:
    ghosts = [
        "INSERT INTO @users (_customer_id, id, _created_at, _updated_at)"
        f" SELECT 'a', 1000 + 100 * {n} + id, _created_at, _updated_at FROM @users WHERE id < 100"
        for n in range(3)
    ]
    damaged.damage(*ghosts, "UPDATE @users SET email = 'other@x.y' WHERE id = 3")
    assert damaged.headrace("reconcile", "users", "--full").code == 0
    (model,) = damaged.headrace("verify", "--json").json["models"]
    assert (model["differing"], model["held"][0]["rows"]) == ([], 3 * USERS)
    assert damaged.headrace("reconcile", "users", "--confirm").code == 0
    assert damaged.shop.verify().stored == USERS
    assert damaged.differing() == 0
