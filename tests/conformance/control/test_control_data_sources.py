"""Data sources of the API: registered, changed, drained, removed; and defaults."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace.control.draining import drain
from headrace.definition.values import ID_PATTERN
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State, Via
from headrace.errors import RefusedError
from headrace.ports.registering import DataSourceChange
from tests.conformance.control.project import BODIES, rows
from tests.conformance.control.tenancy import (
    ACTOR,
    PRODUCTION,
    TENANCY,
    TESTING,
    Tenancy,
    refused,
    tenancy,
)

__all__ = ["tenancy"]

URL = "postgresql://me:s3cret@db.example.com/shop"


def _change(tenancy: Tenancy, id_: str, *, within: str | None = PRODUCTION, **fields: Any) -> None:
    tenancy.data_sources.update(id_, DataSourceChange(**fields), actor=ACTOR, within=within)


def test_a_registered_data_source_serves_and_never_tells_its_url(tenancy: Tenancy) -> None:
    id_ = tenancy.add(URL, provided_id="new-1")
    assert re.fullmatch(ID_PATTERN, id_)
    view = tenancy.data_sources.get(id_, within=PRODUCTION)
    assert (view.provided_id, view.origin, view.state, view.schema) == ("new-1", "api", State.ACTIVE, "shop")
    assert "s3cret" not in repr(view) + repr(tenancy.data_sources.registered()) + repr(tenancy.audited())
    assert tenancy.data_sources.urls_of(id_).url == URL
    made = tenancy.create("acme", mapping={"shop": id_})
    assert (tenancy.route("acme"), made.via["shop"]) == (id_, Via.OWN)
    with tenancy.engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT sealed_url FROM data_source_secret").scalar_one()
    assert b"s3cret" not in bytes(stored)


def test_a_data_source_is_of_its_groups_alone(tenancy: Tenancy) -> None:
    id_ = tenancy.add(URL)
    listed = tenancy.data_sources.list(limit=10, within=TESTING).items
    assert [view.id for view in listed] == ["desk", "test"]
    for within in (TESTING,):
        with refused(Refusal.NOT_FOUND):
            tenancy.data_sources.get(id_, within=within)
        with refused(Refusal.NOT_FOUND):
            tenancy.data_sources.delete(id_, actor=ACTOR, within=within)
        with refused(Refusal.NOT_FOUND):
            _change(tenancy, id_, within=within, nickname="Mine")
    desk = tenancy.data_sources.get("desk", within=TESTING)
    assert desk.visibility_groups == (TESTING,)
    with refused(Refusal.FORBIDDEN):
        tenancy.data_sources.drain("desk", to=None, actor=ACTOR, within=TESTING)


def test_lists_come_in_pages(tenancy: Tenancy) -> None:
    first = tenancy.data_sources.list(limit=3, within=PRODUCTION)
    rest = tenancy.data_sources.list(limit=3, within=PRODUCTION, after=first.next)
    assert [v.id for v in (*first.items, *rest.items)] == ["desk", "eu", "main", "own"]
    assert (rest.next, len(tenancy.data_sources.list(limit=9, schema="desk").items)) == (None, 1)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql://another@DB.example.com:5432/shop?sslmode=require",
        "sqlite:///stores/none.db",
        "sqlite:///control.db",
    ],
)
def test_no_two_data_sources_share_a_place(tenancy: Tenancy, url: str) -> None:
    tenancy.add(URL)
    with refused(Refusal.DATA_SOURCE_EXISTS):
        tenancy.add(url)
    if url.startswith("postgresql"):
        assert tenancy.add(url, namespace="another")


def test_provided_ids_are_one_and_are_no_others_id(tenancy: Tenancy) -> None:
    first = tenancy.add(URL, provided_id="one")
    for taken in ("one", "main-1", first, "eu"):
        with refused(Refusal.DATA_SOURCE_EXISTS):
            tenancy.add("sqlite:///two.db", provided_id=taken)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"schema": "none"}, Refusal.NOT_FOUND),
        ({"visibility_groups": ("none",)}, Refusal.INVALID),
        ({"visibility_groups": ()}, Refusal.INVALID),
        ({"url": "mysql://a/b"}, Refusal.INVALID),
        ({"url": "postgresql://h:port/b"}, Refusal.INVALID),
        ({"url": "sqlite:///x.db", "type": "postgres"}, Refusal.INVALID),
    ],
)
def test_what_is_wrong_registers_nothing(tenancy: Tenancy, fields: dict[str, Any], code: Refusal) -> None:
    with refused(code):
        tenancy.add(**{"url": URL, **fields})
    assert tenancy.data_sources.registered() == {}


def test_a_changed_url_is_another_version_and_keeps_the_password_for_the_same_server_alone(
    tenancy: Tenancy,
) -> None:
    id_ = tenancy.add(URL)
    _change(tenancy, id_, url="postgresql://me@db.example.com/other")
    assert tenancy.data_sources.urls_of(id_).url == "postgresql://me:s3cret@db.example.com/other"
    assert tenancy.data_sources.get(id_).config_version == 2
    for url in ("postgresql://me@evil.example.com/other", "postgresql://you@db.example.com/other"):
        with refused(Refusal.INVALID):
            _change(tenancy, id_, url=url)
    _change(tenancy, id_, url="postgresql://me:new@evil.example.com/other")
    assert tenancy.data_sources.urls_of(id_).url == "postgresql://me:new@evil.example.com/other"
    _change(tenancy, id_, read_url="postgresql://reader:r3ad@evil.example.com/other")
    assert tenancy.data_sources.urls_of(id_).read_url == "postgresql://reader:r3ad@evil.example.com/other"
    for url in ("postgresql://reader@evil.example.com/shop", "postgresql://reader:r3ad@db.example.com/other"):
        with refused(Refusal.INVALID):
            _change(tenancy, id_, read_url=url)
    _change(tenancy, id_, nickname="Renamed", provided_id="given")
    view = tenancy.data_sources.get(id_)
    assert (view.nickname, view.provided_id, view.config_version) == ("Renamed", "given", 4)


def test_what_the_config_defines_is_read_only_but_for_its_state(tenancy: Tenancy) -> None:
    with refused(Refusal.OWNED_BY_CONFIG):
        _change(tenancy, "eu", nickname="Mine")
    with refused(Refusal.OWNED_BY_CONFIG):
        tenancy.data_sources.delete("own", actor=ACTOR, within=PRODUCTION)
    tenancy.data_sources.drain("eu", to=None, actor=ACTOR, within=PRODUCTION)
    assert tenancy.data_sources.get("eu").state is State.DRAINING
    tenancy.control.apply(bodies=TENANCY)
    assert tenancy.data_sources.get("eu").state is State.DRAINING


def test_a_default_is_changed_for_those_without_records_and_others_stay(tenancy: Tenancy) -> None:
    tenancy.create("old", group=TESTING)
    tenancy.create("new", group=TESTING)
    with refused(Refusal.DATA_SOURCE_UNFIT):
        tenancy.data_sources.set_default(TESTING, "shop", "desk", actor=ACTOR)
    with refused(Refusal.NOT_FOUND):
        tenancy.data_sources.set_default(TESTING, "shop", "main", actor=ACTOR)
    tenancy.data_sources.set_default(TESTING, "shop", "test", actor=ACTOR)
    tenancy.journalled("old", group=TESTING)
    other = tenancy.add(URL, visibility_groups=(TESTING,), within=TESTING)
    impact = tenancy.data_sources.foresee_default(TESTING, "shop", other)
    assert (impact.changing, impact.held, impact.staying) == (1, 0, 1)
    assert [one.customer for one in impact.led] == ["new"]
    assert tenancy.route("new", group=TESTING) == "test"
    tenancy.data_sources.set_default(TESTING, "shop", other, actor=ACTOR)
    assert tenancy.route("new", group=TESTING) == other
    assert tenancy.route("old", group=TESTING) == "test"
    assert tenancy.data_sources.defaults(TESTING) == {"shop": other}
    tenancy.data_sources.set_default(TESTING, "shop", None, actor=ACTOR)
    assert tenancy.route("new", group=TESTING) is None


def test_a_default_that_a_file_says_is_changed_there_and_others_outlive_an_apply(tenancy: Tenancy) -> None:
    with refused(Refusal.OWNED_BY_CONFIG):
        tenancy.data_sources.set_default(PRODUCTION, "shop", "eu", actor=ACTOR)
    tenancy.data_sources.set_default(PRODUCTION, "desk", "desk", actor=ACTOR)
    changed = {**TENANCY, ("data_sources", "main"): {**TENANCY["data_sources", "main"], "default_for": []}}
    tenancy.control.apply(bodies=changed)
    assert tenancy.data_sources.defaults(PRODUCTION) == {"desk": "desk"}
    tenancy.data_sources.set_default(PRODUCTION, "shop", "eu", actor=ACTOR)


def test_neither_a_dedicated_nor_a_draining_data_source_is_a_default(tenancy: Tenancy) -> None:
    alone = tenancy.add(URL, isolation="dedicated", visibility_groups=(TESTING,), within=TESTING)
    with refused(Refusal.DATA_SOURCE_UNFIT):
        tenancy.data_sources.set_default(TESTING, "shop", alone, actor=ACTOR)
    tenancy.data_sources.drain("test", to=None, actor=ACTOR, within=TESTING)
    with refused(Refusal.DATA_SOURCE_UNFIT):
        tenancy.data_sources.set_default(TESTING, "shop", "test", actor=ACTOR)


def test_one_that_is_in_use_is_not_deleted_and_says_what_holds_it(tenancy: Tenancy) -> None:
    id_ = tenancy.add(URL)
    tenancy.create("acme", mapping={"shop": id_})
    with pytest.raises(Exception, match="in use") as error:
        tenancy.data_sources.delete(id_, actor=ACTOR, within=PRODUCTION)
    assert error.value.code == Refusal.DATA_SOURCE_IN_USE
    assert error.value.members == {"bound": ["acme"], "residing": [], "default_for": [], "moves": []}
    kept = tenancy.data_sources.delete(id_, actor=ACTOR, within=PRODUCTION, force=True)
    assert kept is not None
    assert kept.state is State.DISABLED
    assert tenancy.get("acme").computed_mapping["shop"] is None
    assert tenancy.get("acme").via["shop"] == Via.OWN
    tenancy.update("acme", mapping={"shop": "main"})
    assert tenancy.data_sources.delete(id_, actor=ACTOR, within=PRODUCTION) is None
    with refused(Refusal.NOT_FOUND):
        tenancy.data_sources.get(id_)
    assert tenancy.control.count("data_source_secret") == 0


def test_draining_moves_who_is_bound_and_the_default_with_them(tenancy: Tenancy) -> None:
    old = tenancy.add(URL)
    tenancy.create("empty", mapping={"shop": old})
    tenancy.create("full", mapping={"shop": old})
    tenancy.create("low", parent="provided:empty")
    tenancy.journalled("full")
    with refused(Refusal.DATA_SOURCE_UNFIT):
        drain(tenancy.data_sources, tenancy.moves, old, to=old, actor=ACTOR, within=PRODUCTION)
    drained = drain(tenancy.data_sources, tenancy.moves, old, to="eu", actor=ACTOR, within=PRODUCTION)
    assert {move.customer: move.state.value for move in drained.moves} == {
        "empty": "moved",
        "full": "reading",
    }
    assert (tenancy.route("empty"), tenancy.route("low"), tenancy.route("full")) == ("eu", "eu", old)
    with refused(Refusal.DATA_SOURCE_UNFIT):
        tenancy.create("late", mapping={"shop": old})


def test_a_default_drains_only_towards_another(tenancy: Tenancy) -> None:
    tenancy.data_sources.set_default(TESTING, "shop", "test", actor=ACTOR)
    tenancy.create("acme", group=TESTING)
    with refused(Refusal.DATA_SOURCE_IN_USE):
        tenancy.data_sources.drain("test", to=None, actor=ACTOR, within=TESTING)
    assert tenancy.data_sources.get("test").state is State.ACTIVE
    other = tenancy.add(URL, visibility_groups=(TESTING,), within=TESTING)
    tenancy.data_sources.drain("test", to=other, actor=ACTOR, within=TESTING)
    assert tenancy.route("acme", group=TESTING) == other


def test_taking_a_group_away_leads_nobody_with_records_astray(tenancy: Tenancy) -> None:
    id_ = tenancy.add(URL, visibility_groups=(PRODUCTION, TESTING), within=None)
    tenancy.create("acme", mapping={"shop": id_})
    change = DataSourceChange(visibility_groups=(TESTING,))
    impact = tenancy.data_sources.foresee(id_, change, within=None)
    assert [(one.customer, one.before, one.after) for one in impact.led] == [("acme", id_, None)]
    impact = tenancy.data_sources.foresee_disabled(id_, within=PRODUCTION)
    assert [(one.customer, one.has_records) for one in impact.led] == [("acme", False)]
    tenancy.journalled("acme")
    impact = tenancy.data_sources.foresee_disabled(id_, within=PRODUCTION)
    assert [(one.customer, one.has_records) for one in impact.led] == [("acme", True)]
    assert (impact.changing, impact.held) == (1, 0)
    _change(tenancy, id_, within=None, visibility_groups=(TESTING,))
    assert tenancy.get("acme").computed_mapping["shop"] is None
    with pytest.raises(RefusedError) as told:
        tenancy.data_sources.delete(id_, actor=ACTOR, within=TESTING)
    assert told.value.code == Refusal.FORBIDDEN
    assert "acme" not in f"{told.value.detail} {told.value.members}"


def test_a_file_takes_no_id_that_the_api_gave(tenancy: Tenancy) -> None:
    tenancy.add(URL, provided_id="main-2")
    taken = {**BODIES["data_sources", "main"], "provided_id": "main-2", "visibility_groups": [PRODUCTION]}
    with pytest.raises(Exception, match="main-2"):
        tenancy.control.apply(bodies={**TENANCY, ("data_sources", "main2"): taken})


def test_a_registered_data_source_with_a_log_is_deleted_with_it(tenancy: Tenancy) -> None:
    id_ = tenancy.add(URL)
    claimed = tenancy.control.claimed()
    tenancy.control.append(claimed, rows(id_))
    tenancy.control.release(claimed)
    tenancy.data_sources.delete(id_, actor=ACTOR, within=PRODUCTION)
    assert tenancy.control.count("feed_log") == 0
    assert tenancy.control.count("batch_payload") == 0
