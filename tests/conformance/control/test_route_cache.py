"""Routes for readers: those of `routing.resolve`, and never an older one than was seen to have ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control import route_cache
from headrace.control.route_cache import RouteCache
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Via
from headrace.errors import RefusedError
from headrace.ports.records import ResolvedRoute
from tests.conformance.control.project import BODIES, USERS, Control

PARENT = {"name": "Parent", "data_sources": {"shop": "side"}}
CHILD = {"name": "Child", "parent": "parent"}
GRANDCHILD = {"name": "Grandchild", "parent": "child"}
OWN = {"name": "Own", "parent": "parent", "data_sources": {"shop": "main"}}
CUSTOMERS = {"parent": PARENT, "child": CHILD, "grandchild": GRANDCHILD, "own": OWN, "free": {"name": "Free"}}
RESIDE = (
    "INSERT INTO residence (customer_id, schema, data_source_id, provided_id)"
    " SELECT id, 'shop', CASE WHEN provided_id IN ('own', 'free') THEN 'main' ELSE 'side' END, provided_id"
    " FROM customer WHERE provided_id NOT IN (SELECT provided_id FROM residence)"
)
RAISE = "UPDATE routing_version SET version = version + 1"


@pytest.fixture
def routed(bare: Control) -> Control:
    bare.apply(USERS, bodies=BODIES | {("customers", name): body for name, body in CUSTOMERS.items()})
    bare.write(RESIDE)
    return bare


@pytest.fixture
def cache(routed: Control) -> Iterator[RouteCache]:
    made = RouteCache(routed.engine)
    yield made
    made.close()


def led(cache: RouteCache, customer: str) -> tuple[str, Via, int]:
    route = cache.resolve("production", customer, "shop")
    return route.data_source, route.via, route.epoch


def refusal(cache: RouteCache, customer: str, group: str = "production", schema: str = "shop") -> str:
    with pytest.raises(RefusedError) as refused:
        cache.resolve(group, customer, schema)
    return refused.value.code


def statements(control: Control) -> list[str]:
    """What control is asked from now on."""
    asked: list[str] = []
    sa.event.listen(control.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    return asked


def test_each_step_of_the_resolution_answers_as_the_domain_does(routed: Control, cache: RouteCache) -> None:
    assert led(cache, "own") == ("main", Via.OWN, 1)
    assert led(cache, "parent") == ("side", Via.OWN, 1)
    assert led(cache, "child") == led(cache, "grandchild") == ("side", Via.PARENT, 1)
    assert led(cache, "free") == ("main", Via.DEFAULT, 0)
    route = cache.resolve("production", "grandchild", "shop")
    assert (route.version, route.config_version) == (routed.routes.version(), 1)


def test_refusals_say_what_they_are_and_never_fall_through(routed: Control, cache: RouteCache) -> None:
    routed.write("UPDATE data_source SET state = 'disabled' WHERE id = 'side'")
    assert refusal(cache, "parent") == refusal(cache, "child") == Refusal.DATA_SOURCE_UNAVAILABLE
    assert refusal(cache, "nobody") == refusal(cache, "free", group="testing") == Refusal.NOT_FOUND
    assert refusal(cache, "free", schema="other") == Refusal.NO_DATA_SOURCE
    routed.write("DELETE FROM default_data_source")
    assert refusal(cache, "free") == Refusal.NO_DATA_SOURCE
    routed.write("UPDATE data_source SET state = 'active' WHERE id = 'side'")
    routed.write("DELETE FROM data_source_group WHERE data_source_id = 'side'")
    assert refusal(cache, "parent") == Refusal.DATA_SOURCE_UNAVAILABLE


def test_the_usual_customer_costs_one_statement_and_then_none(routed: Control, cache: RouteCache) -> None:
    cache.look()
    asked = statements(routed)
    for name in ("own", "free"):
        del asked[:]
        assert led(cache, name) == led(cache, name)
        assert len(asked) == 1


def test_whoever_has_no_records_there_is_told_so_and_asked_about_again(
    routed: Control, cache: RouteCache
) -> None:
    cache.look()
    routed.write("DELETE FROM residence")
    for name in ("own", "grandchild"):
        assert not cache.resolve("production", name, "shop").resident
    routed.write(RESIDE)
    for name in ("own", "grandchild"):
        assert cache.resolve("production", name, "shop").resident
    routed.write("UPDATE residence SET data_source_id = 'side' WHERE provided_id = 'own'")
    cache.invalidate()
    assert not cache.resolve("production", "own", "shop").resident


def test_routes_of_another_version_are_forgotten_when_it_is_seen(routed: Control, cache: RouteCache) -> None:
    cache.look()
    assert led(cache, "own")[0] == "main"
    routed.write("UPDATE binding SET data_source_id = 'side', epoch = 2 WHERE data_source_id = 'main'")
    routed.write(RAISE)
    assert led(cache, "own")[0] == "main"
    cache.look()
    assert led(cache, "own") == ("side", Via.OWN, 2)


def test_whoever_changes_routing_here_sees_it_at_once(routed: Control, cache: RouteCache) -> None:
    cache.look()
    assert led(cache, "own")[0] == "main"
    routed.write("UPDATE binding SET data_source_id = 'side', epoch = 2 WHERE data_source_id = 'main'")
    cache.invalidate()
    assert led(cache, "own")[0] == "side"


def test_nothing_is_remembered_while_nobody_asks_the_version(
    routed: Control, cache: RouteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = statements(routed)
    led(cache, "own")
    led(cache, "own")
    assert len(asked) == 2
    monkeypatch.setattr(route_cache, "TRUSTED_S", 0.0)
    cache.look()
    led(cache, "own")
    led(cache, "own")
    assert len(asked) == 5


def test_a_known_route_is_asked_for_again_when_its_version_could_not_be(
    routed: Control, cache: RouteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.look()
    assert led(cache, "own") == led(cache, "own")
    routed.write("UPDATE binding SET data_source_id = 'side', epoch = 2 WHERE data_source_id = 'main'")
    assert led(cache, "own")[0] == "main"
    later = time.monotonic() + route_cache.TRUSTED_S
    monkeypatch.setattr(route_cache.time, "monotonic", lambda: later)
    assert led(cache, "own")[0] == "side"


def test_a_route_that_was_resolved_before_a_change_is_not_kept_after_it(
    routed: Control, cache: RouteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.look()
    resolved, changed = threading.Event(), threading.Event()
    asked = cache._asked

    def slowly(*args: Any) -> ResolvedRoute:
        route = asked(*args)
        resolved.set()
        assert changed.wait(10)
        return route

    monkeypatch.setattr(cache, "_asked", slowly)
    late = threading.Thread(target=led, args=(cache, "own"))
    late.start()
    assert resolved.wait(10)
    routed.write("UPDATE binding SET data_source_id = 'side' WHERE data_source_id = 'main'")
    cache.invalidate()
    changed.set()
    late.join()
    assert led(cache, "own")[0] == "side"


def test_it_watches_by_itself(routed: Control, cache: RouteCache) -> None:
    cache.watch()
    assert led(cache, "own")[0] == "main"
    seen = threading.Event()
    forget = cache._forget
    cache._forget = lambda: (forget(), seen.set())  # type: ignore[method-assign,assignment]
    routed.write("UPDATE binding SET data_source_id = 'side' WHERE data_source_id = 'main'")
    routed.write(RAISE)
    assert seen.wait(10)
    assert led(cache, "own")[0] == "side"


def test_it_is_bounded_and_keeps_what_is_used(routed: Control) -> None:
    small = RouteCache(routed.engine, most=4)
    small.look()
    for n in range(20):
        routed.routes.resolve(
            schema="shop", visibility_group="production", customers=[f"c{n}"], create_unknown=True
        )
    routed.write(RESIDE.replace("IN ('own', 'free')", "NOT IN ('parent')"))
    asked = statements(routed)
    led(small, "own")
    for n in range(20):
        led(small, f"c{n}")
        assert len(small) <= 4
        del asked[:]
        led(small, "own")
        assert asked == []
