"""The model `renters` of a rental shop: what it should be by SQL over its source, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from tests.acceptance.records import Records, Store, assert_equal_records, oracle, property_types


class Renter(NamedTuple):
    """A renter as the README of the sample data has it."""

    name: str
    rentals: int
    last_rental: str
    payments: int
    paid: str
    last_payment: str | None = None
    last_amount: str | None = None


class Shop(Protocol):
    """A module that knows a rental shop: its definitions, and the oracle's columns in their order."""

    ORACLE: str
    KEY: dict[str, str]

    def definitions(self, store: Store) -> dict[str, Any]: ...


class Renters:
    """The records of one shop in one store."""

    def __init__(self, shop: Shop, source_url: str, store: Store) -> None:
        self.shop = shop
        self.source_url = source_url
        self.store = store
        self.types = property_types(shop.definitions(store), "renters", shop.KEY)

    def expected(self) -> Records:
        return oracle(self.source_url, self.shop.ORACLE, self.types, self.shop.KEY, customer="default")

    def actual(self) -> Records:
        return self.store.records("renters", self.types, self.shop.KEY)

    def assert_equal(self) -> None:
        assert_equal_records(self.expected(), self.actual())


def assert_readme(records: Records, readme: Mapping[int, Renter]) -> None:
    """599 renters with 67,416.51 paid in all, and three of them as the README has them."""
    assert len(records) == 599
    assert sum(record["total_paid"] for record in records.values()) == Decimal("67416.51")
    assert all(record["rental_count"] > 0 for record in records.values())
    for key, renter in readme.items():
        record = records["default", key]
        assert f"{record['first_name']} {record['last_name']}" == renter.name
        assert record["rental_count"] == renter.rentals
        assert record["last_rental_date"] == _moment(renter.last_rental)
        assert record["payment_count"] == renter.payments
        assert record["total_paid"] == Decimal(renter.paid)
        if renter.last_payment is not None:
            assert record["last_payment_date"] == _moment(renter.last_payment)
        if renter.last_amount is not None:
            assert record["last_amount"] == Decimal(renter.last_amount)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def unchanged(contents: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Tables of rows. Right after a change a poll may read rows at the fence again and note that it did."""
    return {name: rows for name, rows in contents.items() if name != "_applied"}
