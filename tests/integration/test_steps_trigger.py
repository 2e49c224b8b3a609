"""Which feeds a request from outside means, and that they are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.refusal import Refusal
from headrace.domain.trigger import TriggerMessage, TriggerRequest
from headrace.errors import RefusedError, SourceUnavailableError
from headrace.metrics import TRIGGERS
from headrace.ports import Ask, Unmet
from headrace.steps import trigger
from headrace.steps.trigger import Asker
from tests.integration.world import USERS, Seen, prepared, world_of

ANYBODY = Asker(by="message")
T1 = "2024-01-01 00:00:01.000"


def refused(world: Seen, request: TriggerRequest, asker: Asker = ANYBODY) -> tuple[str, str]:
    with pytest.raises(RefusedError) as refusal:
        world.app.triggering.judge(request, asker)
    return refusal.value.code, refusal.value.detail


def counted(outcome: str) -> float:
    return TRIGGERS.labels(outcome=outcome)._value.get()


def test_a_request_means_every_feed_of_its_source(world: Seen) -> None:
    ask = world.app.triggering.judge(TriggerRequest(source=USERS), ANYBODY)
    assert (ask.by, ask.source, ask.feeds, ask.keys) == ("message", USERS, ((USERS, "app"),), None)


@pytest.mark.parametrize(
    ("request_", "asker"),
    [
        (TriggerRequest(source="nothing"), ANYBODY),
        (TriggerRequest(), ANYBODY),
        (TriggerRequest(source=USERS, app="other"), ANYBODY),
        (TriggerRequest(source=USERS), replace(ANYBODY, visibility_group="other")),
        (TriggerRequest(source=USERS), replace(ANYBODY, app="other")),
    ],
    ids=["no such source", "none named", "another app", "another group's", "not from this app"],
)
def test_what_is_not_there_or_not_the_asker_s_is_told_alike(
    world: Seen, request_: TriggerRequest, asker: Asker
) -> None:
    code, told = refused(world, request_, asker)
    assert code == Refusal.NOT_FOUND
    assert told == "there is no such source, or it is not read from such an app"


def test_keys_are_asked_for_once_each_and_refused_whole_when_one_is_no_rows(world: Seen) -> None:
    ask = world.app.triggering.judge(TriggerRequest(source=USERS, keys=(("1",), ("2",), ("1",))), ANYBODY)
    assert ask.keys == (("1",), ("2",))
    for unfit in (("one",), ("1", "2")):
        code, told = refused(world, TriggerRequest(source=USERS, keys=(("1",), unfit)))
        assert code == Refusal.INVALID
        assert "is no key of users (id)" in told


def test_a_customer_that_rows_may_make_is_one_that_may_have_rows(world: Seen) -> None:
    ask = world.app.triggering.judge(TriggerRequest(source=USERS, customer="new"), ANYBODY)
    assert (ask.customer, ask.feeds) == ("new", ((USERS, "app"),))


def test_where_unknown_customers_are_held_only_known_ones_have_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = prepared(tmp_path / "template", {"sources/users.json": {"unknown_customers": "hold"}})
    with world_of(template, tmp_path / "world", monkeypatch) as held:
        code, told = refused(held, TriggerRequest(source=USERS, customer="nobody"))
        assert (code, "no such customer" in told) == (Refusal.NOT_FOUND, True)
        assert held.app.triggering.judge(TriggerRequest(source=USERS, customer="w"), ANYBODY).feeds


def test_the_customer_of_an_app_is_the_only_one_that_its_rows_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = prepared(tmp_path / "template", {"sources/users.json": {"customer": {"value": "w"}}})
    with world_of(template, tmp_path / "world", monkeypatch) as own:
        assert own.app.triggering.judge(TriggerRequest(source=USERS, customer="w"), ANYBODY).feeds
        assert refused(own, TriggerRequest(source=USERS, customer="e"))[0] == Refusal.NOT_FOUND


def test_a_source_that_was_applied_a_moment_ago_is_found(world: Seen) -> None:
    step, asked = world.app.triggering, []

    def older(*, at_least: int = 0) -> Any:
        asked.append(at_least)
        found = world.app.catalogue(at_least=at_least)
        return found if at_least else replace(found, plans={})

    step = replace(step, catalogue=older)
    assert step.judge(TriggerRequest(source=USERS), ANYBODY).feeds == ((USERS, "app"),)
    assert asked == [0, world.app.definitions_table.version()]


def test_whatever_is_wrong_with_a_body_is_an_answer(world: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    step = world.app.triggering
    malformed = step.judged(b"{", ANYBODY, TriggerMessage)
    assert isinstance(malformed, Unmet)
    assert (malformed.code, malformed.source, malformed.by) == (Refusal.INVALID, "", "message")
    unknown = step.judged(b'{"source": "nothing", "app": "a", "customer": "c"}', ANYBODY, TriggerMessage)
    assert isinstance(unknown, Unmet)
    assert (unknown.code, unknown.source, unknown.app, unknown.customer) == (
        Refusal.NOT_FOUND, "nothing", "a", "c",
    )  # fmt: skip
    monkeypatch.setattr(trigger, "canonical_requests", lambda *_: 1 / 0)
    bug = step.judged(b'{"source": "users", "keys": [[1]]}', ANYBODY, TriggerMessage)
    assert isinstance(bug, Unmet)
    assert bug.code == Refusal.INTERNAL


def test_what_passes_by_itself_is_no_answer(world: Seen) -> None:
    """The request waits for what is away."""

    def away(**_: Any) -> Any:
        raise SourceUnavailableError("control is away")

    with pytest.raises(SourceUnavailableError):
        replace(world.app.triggering, catalogue=away).judged(b'{"source": "users"}', ANYBODY, TriggerMessage)


def test_each_feed_is_nudged_once_whatever_was_asked_and_each_request_is_counted(world: Seen) -> None:
    step = world.app.triggering
    world.nudges.waiting.clear()
    before = counted("accepted"), counted("rejected")
    judged = [step.judged(b'{"source": "users"}', ANYBODY, TriggerMessage) for _ in range(3)]
    judged.append(step.judged(b"no", ANYBODY, TriggerMessage))
    feeds = step.meet(judged)
    assert list(feeds) == [world.feed(USERS)]
    assert world.nudges.waiting == [("poll", world.feed(USERS))]
    assert world.app.feeds.is_asked_again(world.feed(USERS))
    assert (counted("accepted") - before[0], counted("rejected") - before[1]) == (3, 1)


def test_keys_that_were_asked_for_are_read_by_the_next_poll(world: Seen) -> None:
    world.user(1, "Ann", T1)
    world.settle()
    world.write("UPDATE users SET name = 'Bea' WHERE id = 1", ())
    ask = world.app.triggering.judge(TriggerRequest(source=USERS, keys=(("1",), ("7",))), ANYBODY)
    assert isinstance(ask, Ask)
    world.app.triggering.meet([ask])
    world.poll(USERS)
    world.merge()
    assert world.user_names() == {("e", 1): "Bea"}
