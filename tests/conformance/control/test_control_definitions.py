"""Applied definitions: versions, and what they do to feeds and routing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace.domain.vocabulary import LogId
from headrace.errors import ConfigurationError, LeaseLostError, RoutingChangedError
from headrace.ports import FeedState, Routing
from tests.conformance.control.project import BODIES, MAIN, PURCHASES, SIDE, USERS, Control, rows

BOUND = {"name": "Acme", "data_sources": {"shop": "main"}}


def with_(**files: Any) -> dict[tuple[str, str], Any]:
    """The bodies with further ones, `kind__id=body`; None removes."""
    bodies = dict(BODIES)
    for name, body in files.items():
        kind, id_ = name.split("__")
        bodies[kind, id_] = body
    return {key: body for key, body in bodies.items() if body is not None}


def test_the_version_is_raised_only_by_a_change(bare: Control) -> None:
    assert (bare.definitions.version(), bare.definitions.current(), bare.definitions.compiled()) == (
        0,
        None,
        None,
    )
    assert [bare.apply(USERS), bare.apply(USERS), bare.apply(USERS, PURCHASES)] == [1, 1, 2]
    assert bare.apply(USERS, PURCHASES, bodies=with_(schemas__help={"name": "Help"})) == 3
    current = bare.definitions.current()
    assert current is not None
    assert (current.version, current.compiled) == (3, '{"compiled": true}')
    assert current.bodies == with_(schemas__help={"name": "Help"})
    assert bare.claimed().definition_version == 3


def test_history_keeps_every_body_and_removal(bare: Control) -> None:
    bare.apply(bodies=with_(schemas__help={"name": "Help"}))
    bare.apply(bodies=with_(schemas__help={"name": "Support"}))
    bare.apply()
    assert bare.count("definition_history", "id = 'help'") == 3
    assert bare.count("definition_history", "id = 'help' AND body IS NULL") == 1
    assert bare.count("definition", "id = 'help'") == 0


def test_an_unchanged_feed_keeps_lease_position_and_log(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows())
    before = control.log()
    control.apply(USERS, replace(PURCHASES, fingerprint="columns-2"))
    control.append(claimed, rows())
    assert control.log().log_id == before.log_id
    assert control.seen().lead is not None


def test_a_changed_shape_takes_the_lease_away_and_keeps_the_position(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), state=FeedState(first_stream_done=True))
    control.apply(replace(USERS, shape_fingerprint="shape-2"), PURCHASES)
    with pytest.raises(LeaseLostError):
        control.append(claimed, rows())
    fresh = control.claimed()
    assert fresh.state.first_stream_done
    control.append(fresh, rows())
    found = control.journal.waiting(control.log(), after_seq=0, max_batches=9, max_bytes=99)
    assert [b.shape_fingerprint for b in found] == ["shape-1", "shape-2"]


def test_a_feed_that_is_read_again_begins_anew_with_new_logs(control: Control) -> None:
    claimed = control.claimed()
    ids = control.append(claimed, rows(), rows(SIDE), state=FeedState(first_stream_done=True))
    control.journal.mark_merged(ids[:1], rows_changed=0)
    logs: set[LogId] = {control.log().log_id, control.log(SIDE).log_id}
    control.apply(replace(USERS, reread=True), PURCHASES)
    with pytest.raises(LeaseLostError):
        control.append(claimed, rows())
    fresh = control.claimed()
    assert (fresh.state, fresh.reconcile, fresh.reconcile_into) == (FeedState(), "full", ())
    assert logs.isdisjoint({control.log().log_id, control.log(SIDE).log_id})
    assert (control.log().seq, control.count("batch", "state = 'pending'")) == (0, 0)
    assert fresh.lease.epoch == claimed.lease.epoch + 2


def test_a_feed_that_is_no_more_ends_and_one_that_comes_back_is_new(control: Control) -> None:
    old, claimed = control.feed(), control.claimed()
    control.append(claimed, rows())
    control.journal.request_keys(old, [("1",)])
    control.apply(PURCHASES)
    with pytest.raises(LeaseLostError):
        control.append(claimed, rows())
    assert control.commands.feeds("users") == []
    assert (control.count("batch"), control.count("key_request")) == (0, 0)
    control.apply(USERS, PURCHASES)
    assert control.feed() != old
    assert control.claimed().state == FeedState()


def test_a_pause_of_the_definition_ends_with_it_and_a_persons_does_not(control: Control) -> None:
    control.apply(replace(USERS, paused=True), PURCHASES)
    assert control.seen().paused
    control.apply(USERS, PURCHASES)
    assert not control.seen().paused
    control.commands.pause("users", reason="incident")
    control.apply(replace(USERS, fingerprint="columns-2"), PURCHASES)
    assert control.seen().paused_reason == "incident"


def test_a_pause_for_drift_ends_with_the_next_apply(control: Control) -> None:
    control.release(control.claimed(), error="column gone", stop=True)
    control.apply(USERS, PURCHASES)
    assert not control.seen().paused


def test_a_new_schedule_counts_from_now(control: Control) -> None:
    control.apply(replace(USERS, every_s=None, cron="0 0 1 1 *"), PURCHASES)
    due = control.seen().next_due
    assert due is not None
    assert (due.month, due.day, due.hour, due.minute) == (1, 1, 0, 0)
    control.apply(replace(USERS, every_s=None), PURCHASES)
    assert control.seen().next_due is None


def test_routing_has_a_new_version_only_when_it_changed(control: Control) -> None:
    before = control.routes.version()
    control.apply(USERS, bodies=with_(data_sources__main=BODIES["data_sources", "main"] | {"nickname": "M"}))
    assert control.routes.version() == before
    control.apply(USERS, bodies=with_(customers__acme=BOUND))
    assert control.routes.version() == before + 1


def resolved(control: Control, name: str) -> Routing:
    return control.routes.resolve(
        schema="shop", visibility_group="production", customers=[name], create_unknown=True
    )


def test_a_binding_may_change_until_its_customer_has_rows(control: Control) -> None:
    control.apply(USERS, bodies=with_(customers__acme=BOUND))
    moved = with_(customers__acme=BOUND | {"data_sources": {"shop": "side"}})
    control.apply(USERS, bodies=moved)
    claimed = control.claimed()
    newcomers = tuple(resolved(control, "acme").newcomers.values())
    control.append(claimed, rows(SIDE), newcomers=newcomers)
    version = control.definitions.version()
    for bodies in (with_(customers__acme=BOUND), BODIES):
        with pytest.raises(ConfigurationError, match=r"customer acme .* in side, and would be led to main"):
            control.apply(USERS, bodies=bodies)
    assert control.definitions.version() == version
    assert resolved(control, "acme").data_sources == {"acme": SIDE}


def test_a_default_is_the_binding_of_who_has_rows_there_and_changes_for_others_alone(
    control: Control,
) -> None:
    newcomers = tuple(resolved(control, "old").newcomers.values())
    assert newcomers[0].pinned
    control.append(control.claimed(), rows(MAIN), newcomers=newcomers)
    assert not resolved(control, "old").newcomers
    swapped = with_(
        data_sources__main=BODIES["data_sources", "main"] | {"default_for": []},
        data_sources__side=BODIES["data_sources", "side"] | {"default_for": ["production"]},
    )
    control.apply(USERS, PURCHASES, bodies=swapped)
    assert resolved(control, "old").data_sources == {"old": MAIN}
    assert resolved(control, "new").data_sources == {"new": SIDE}


def test_a_page_with_newcomers_that_was_resolved_before_another_default_is_resolved_again(
    control: Control,
) -> None:
    routing = resolved(control, "new")
    swapped = with_(
        data_sources__main=BODIES["data_sources", "main"] | {"default_for": []},
        data_sources__side=BODIES["data_sources", "side"] | {"default_for": ["production"]},
    )
    claimed = control.claimed()
    control.apply(USERS, PURCHASES, bodies=swapped)
    with pytest.raises(RoutingChangedError):
        control.append(
            claimed,
            rows(MAIN),
            newcomers=tuple(routing.newcomers.values()),
            routing_version=routing.version,
        )
    assert resolved(control, "new").newcomers["new"].data_source_id == SIDE


def test_a_removed_data_source_ends_its_logs_unless_it_is_bound(control: Control) -> None:
    control.append(control.claimed(), rows(MAIN), rows(SIDE))
    control.apply(USERS, PURCHASES, bodies=with_(data_sources__side=None))
    assert control.feeds.written_data_sources(control.feed()) == (MAIN,)
    assert control.count("batch") == 1


def test_a_file_takes_over_a_customer_that_rows_made(control: Control) -> None:
    def ask() -> Any:
        return control.routes.resolve(
            schema="shop", visibility_group="production", customers=["acme-1"], create_unknown=True
        )

    assert ask().data_sources == {"acme-1": MAIN}
    side = {"name": "Acme", "provided_id": "acme-1", "data_sources": {"shop": "side"}}
    control.apply(USERS, PURCHASES, bodies=with_(customers__acme=side))
    assert ask().data_sources == {"acme-1": SIDE}
    assert control.count("customer") == 1


def test_parents_are_followed_three_levels_and_deeper_trees_are_refused(control: Control) -> None:
    tree = {"customers__c0": BOUND | {"data_sources": {"shop": "side"}}}
    for level in range(1, 4):
        tree[f"customers__c{level}"] = {"name": "C", "parent": f"c{level - 1}"}
    control.apply(USERS, PURCHASES, bodies=with_(**tree))
    routing = control.routes.resolve(
        schema="shop", visibility_group="production", customers=["c3"], create_unknown=False
    )
    assert routing.data_sources == {"c3": SIDE}
    tree["customers__c4"] = {"name": "C", "parent": "c3"}
    with pytest.raises(ConfigurationError, match=r"customers/c4\.json"):
        control.apply(USERS, PURCHASES, bodies=with_(**tree))
