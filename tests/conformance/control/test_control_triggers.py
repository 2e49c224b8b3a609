"""What is asked for from outside is kept in one transaction, and it is told who asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.engine import reading
from headrace.control.tables import trigger_log
from headrace.control.triggers import SqlTriggers
from headrace.domain.vocabulary import AppId, SourceId
from headrace.ports import Ask, Unmet
from tests.conformance.control.project import LEASE_S, Control

SHOP = AppId("shop_db")
UNMET = Unmet(by="message", source="nobody", code="not_found", reason="there is no such source")


class Hands:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def triggers(control: Control, hands: Hands) -> SqlTriggers:
    return SqlTriggers(control.engine, monotonic=hands.monotonic)


def ask(source: str = "users", *, keys: Any = None, **others: Any) -> Ask:
    id_ = SourceId(source)
    return Ask(**{"by": "message", "source": id_, "feeds": ((id_, SHOP),), "keys": keys, **others})


def lines(control: Control) -> list[tuple[Any, ...]]:
    told = sa.select(
        trigger_log.c.source_id, trigger_log.c.outcome, trigger_log.c.requests, trigger_log.c["keys"]
    ).order_by(trigger_log.c.id)
    with reading(control.engine) as connection:
        return [tuple(row) for row in connection.execute(told)]


def keys_of(control: Control, source: str = "users") -> set[tuple[str, ...]]:
    return {request.key for request in control.feeds.key_requests(control.feed(source), limit=100)}


def test_each_feed_is_polled_once_more_whatever_the_number_of_requests(
    control: Control, triggers: SqlTriggers
) -> None:
    claimed = control.claimed()
    assert triggers.record([ask(), ask(), ask("purchases")]) == sorted(
        [control.feed(), control.feed("purchases")]
    )
    assert control.release(claimed)
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is not None


def test_keys_of_all_requests_are_fetched_each_once(control: Control, triggers: SqlTriggers) -> None:
    triggers.record(
        [ask(keys=(("1",), ("2",))), ask(keys=(("2",),)), ask(), ask("purchases", keys=(("3",),))]
    )
    assert keys_of(control) == {("1",), ("2",)}
    assert keys_of(control, "purchases") == {("3",)}


def test_a_feed_that_there_is_none_of_is_left_out(control: Control, triggers: SqlTriggers) -> None:
    gone = ask(feeds=((SourceId("users"), AppId("gone")), (SourceId("users"), SHOP)))
    assert triggers.record([gone]) == [control.feed()]


def test_equal_requests_within_a_minute_are_one_line(
    control: Control, triggers: SqlTriggers, hands: Hands
) -> None:
    triggers.record([ask(), ask(keys=(("1",),))], [UNMET])
    hands.at = 59.0
    triggers.record([ask(keys=(("1",), ("2",)))], [UNMET, UNMET])
    triggers.record([ask(customer="acme")])
    assert lines(control) == [
        ("users", "accepted", 3, 3),
        ("nobody", "rejected", 3, 0),
        ("users", "accepted", 1, 0),
    ]
    hands.at = 61.0
    triggers.record([ask()])
    assert lines(control)[-1] == ("users", "accepted", 1, 0)
    assert len(lines(control)) == 4


def test_a_line_that_the_retention_took_is_written_anew(control: Control, triggers: SqlTriggers) -> None:
    triggers.record([ask()])
    with control.engine.begin() as connection:
        connection.execute(sa.delete(trigger_log))
    triggers.record([ask()])
    assert lines(control) == [("users", "accepted", 1, 0)]


def test_a_line_tells_who_asked_and_why_it_was_not_met(control: Control, triggers: SqlTriggers) -> None:
    triggers.record([ask(by="listen:shop_db", app="shop_db", customer="acme")], [UNMET])
    with reading(control.engine) as connection:
        met, unmet = connection.execute(sa.select(trigger_log).order_by(trigger_log.c.id)).all()
    assert (met.asked_by, met.app_id, met.customer, met.reason) == ("listen:shop_db", "shop_db", "acme", None)
    assert unmet.reason == "not_found: there is no such source"


def test_nothing_is_kept_of_a_transaction_that_fails(control: Control, triggers: SqlTriggers) -> None:
    broken = Unmet(by="message", source=None, code="invalid_request", reason="")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="control database"):
        triggers.record([ask(keys=(("1",),))], [broken])
    assert lines(control) == []
    assert keys_of(control) == set()


def test_a_source_is_paused_when_each_of_its_feeds_is(control: Control, triggers: SqlTriggers) -> None:
    feeds = ask().feeds
    assert triggers.paused_reason(feeds) is None
    control.commands.pause("users", reason="lunch")
    assert triggers.paused_reason(feeds) == "lunch"
    assert triggers.paused_reason((*feeds, *ask("purchases").feeds)) is None
    assert triggers.paused_reason([(SourceId("nothing"), SHOP)]) is None


def test_what_was_asked_for_is_told_the_newest_first_and_by_what_it_was(
    control: Control, triggers: SqlTriggers
) -> None:
    triggers.record([ask()])
    triggers.record([ask("purchases", customer="acme", keys=(("1",),))])
    triggers.record([], [UNMET])
    told = triggers.told(limit=9)
    assert [line.source_id for line in told] == ["nobody", "purchases", "users"]
    assert (told[1].customer, told[1].keys, told[1].requests, told[1].reason) == ("acme", 1, 1, None)
    assert told[0].reason == "not_found: there is no such source"
    assert triggers.told(limit=1) == told[:1]
    assert triggers.told(limit=9, source_id="users") == told[2:]
    assert triggers.told(limit=9, outcome="rejected") == told[:1]
    assert triggers.told(limit=9, since=told[0].at + timedelta(seconds=1)) == []
