"""`headrace customers`, `data-sources`, `route` and `audit`, on a project of two visibility groups."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.integration.command import Command
from tests.integration.tenants import PASSPHRASE, make_project, records

CUSTOMER_KEYS = {
    *("id", "customer", "group", "name", "parent", "properties", "origin", "made_at", "mapping", "pinned"),
    *("computed_mapping", "via"),
}
DATA_SOURCE_KEYS = {
    *("id", "provided_id", "nickname", "schema", "groups", "default_for", "type", "namespace", "isolation"),
    *("state", "origin", "config_version"),
}
IN = ("--group", "production")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headrace: Command) -> Path:
    """The project, synced; the current directory."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", PASSPHRASE)
    monkeypatch.setenv("HEADRACE_SQLITE_DIR", str(tmp_path))
    assert headrace("sync").code == 0
    return tmp_path


def test_customers_are_made_shown_changed_and_deleted(here: Path, headrace: Command) -> None:
    made = headrace("customers", "create", "hooli", "--data-source", "eu-1", *IN, "--json").json
    assert made.keys() == CUSTOMER_KEYS
    assert (made["mapping"], made["via"]) == ({"shop": "eu"}, {"shop": "own"})
    again = headrace("customers", "create", "hooli", *IN)
    assert (again.code, "exists already" in again.err) == (0, True)
    listed = headrace("customers", "list", *IN, "--json").json
    assert [c["customer"] for c in listed] == ["acme", "globex", "hooli", "initech"]
    assert headrace("customers", "show", "acme", *IN, "--json").json["pinned"] == ["shop"]
    assert headrace("customers", "show", f"id:{made['id']}", *IN).out.startswith("what")
    told = headrace("customers", "update", "hooli", "--data-source", "main", "--dry-run", *IN, "--json").json
    assert (told["changing"], [c["customer"] for c in told["customers"]]) == (1, ["hooli"])
    changed = headrace(
        "customers", "update", "hooli", "--inherit", "shop", "--parent", "globex", *IN, "--json"
    )
    assert (changed.json["parent"], changed.json["via"]) == ("globex", {"shop": "parent"})
    assert headrace("customers", "update", "hooli", "--no-parent", *IN, "--json").json["parent"] is None
    assert headrace("customers", "delete", "acme", *IN).code == 0
    assert records(here / "main.db") == [("initech", 4)]
    assert headrace("customers", "show", "acme", *IN).err == "failed: there is no such customer [not_found]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["customers", "list"], 2, "--group: which visibility group? There are production, testing"),
        (["customers", "list", "--group", "productio"], 2, 'did you mean "production"'),
        (["customers", "show", "nobody", *IN], 1, "there is no such customer"),
        (["customers", "create", "x", "--data-source", "test", *IN], 1, "there is no such data source"),
        (["customers", "create", "x", "--properties", "[]", *IN], 2, "--properties"),
        (["customers", "create", " ", *IN], 2, "the provided id is empty"),
        (["customers", "update", "globex", "--name", "X", *IN], 1, "customers/globex.json"),
        (["customers", "update", "acme", "--data-source", "eu", *IN], 1, "headrace customers move"),
        (["customers", "move", "acme", "shop", "--to", "nowhere", *IN], 1, "there is no such data source"),
        (["customers", "move", "globex", "shop", "--to", "main", *IN], 1, "headrace apply --move"),
        (["customers", "cancel", "none"], 1, "there is no such move"),
        (["data-sources", "show", "none"], 1, "there is no such data source"),
        (["data-sources", "default", "shop", *IN], 2, "--none"),
        (["data-sources", "default", "shop", "eu", *IN], 1, "data_sources/main.json"),
        (["data-sources", "drain", "main"], 1, "it is the default of production"),
        (["data-sources", "delete", "eu"], 1, "data_sources/eu.json"),
        (["route", "explain", "acme", "none", *IN], 1, "there is no such schema"),
        (["audit", "--since", "soon"], 2, "--since"),
    ],
)
def test_mistakes_end_in_one_line_that_says_what_is_wrong(
    here: Path, headrace: Command, arguments: list[str], code: int, told: str
) -> None:
    ended = headrace(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_customer_moves_with_the_next_syncs(here: Path, headrace: Command) -> None:
    begun = headrace("customers", "move", "acme", "shop", "--to", "eu-1", *IN, "--json").json
    assert (begun["from"], begun["to"], begun["state"]) == ("main", "eu", "reading")
    for _ in range(2):
        assert headrace("sync").code == 0
    assert [m["state"] for m in headrace("customers", "moves", "acme", *IN, "--json").json] == ["moved"]
    assert records(here / "eu.db") == [("acme", 1), ("acme", 2), ("globex", 3)]
    assert records(here / "main.db") == [("initech", 4)]
    assert "moved" in headrace("customers", "moves", *IN).out


def test_a_move_is_cancelled_and_another_leaves_records_behind(here: Path, headrace: Command) -> None:
    begun = headrace("customers", "move", "acme", "shop", "--to", "eu", *IN, "--json").json
    assert headrace("customers", "cancel", begun["move"], "--json").json["state"] == "cancelled"
    left = headrace("customers", "move", "acme", "shop", "--to", "eu", "--switch-only", *IN)
    assert "main" in left.out
    assert headrace("route", "explain", "acme", "shop", *IN, "--json").json["data_source"] == "eu"
    assert records(here / "main.db") == [("acme", 1), ("acme", 2), ("initech", 4)]


def test_data_sources_are_added_changed_drained_and_deleted(
    here: Path, headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{here}/new.db"
    tried = headrace("data-sources", "test", "--schema", "shop", *IN, "--url", url, "--json")
    assert tried.json["foreign_tables"] == []
    monkeypatch.setattr("sys.stdin", io.StringIO(url + "\n"))
    made = headrace("data-sources", "add", "New", "--schema", "shop", *IN, "--url", "-", "--json").json
    assert made.keys() == DATA_SOURCE_KEYS
    assert (made["state"], made["origin"], made["groups"]) == ("active", "api", ["production"])
    id_ = made["id"]
    assert records(here / "new.db") == []
    changed = headrace("data-sources", "update", id_, "--provided-id", "new-1", "--json").json
    assert changed["provided_id"] == "new-1"
    assert headrace("customers", "move", "acme", "shop", "--to", "new-1", *IN).code == 0
    for _ in range(2):
        assert headrace("sync").code == 0
    assert records(here / "new.db") == [("acme", 1), ("acme", 2)]
    for command in ("status", "doctor", "verify"):
        assert headrace(command).code == 0, command
    assert id_ in headrace("doctor").out
    shown = headrace("data-sources", "show", "new-1", "--json").json
    assert shown["holders"] == {"bound": ["acme"], "residing": ["acme"], "default_for": [], "moves": []}
    assert shown["if_disabled"]["held"] == 0
    told = "If it were disabled, 1 customer would be without one: acme."
    assert told in headrace("data-sources", "show", "new-1").out
    refused = headrace("data-sources", "delete", id_)
    assert (refused.code, "in use" in refused.err) == (1, True)
    drained = headrace("data-sources", "drain", id_, "--to", "main", "--json").json
    assert [m["customer"] for m in drained["moves"]] == ["acme"]
    for _ in range(2):
        assert headrace("sync").code == 0
    assert headrace("data-sources", "delete", id_).code == 0
    assert [d["id"] for d in headrace("data-sources", "list", "--json").json] == ["eu", "main", "test"]


def test_one_in_use_is_disabled_by_force_and_serves_again(here: Path, headrace: Command) -> None:
    assert "disabled" in headrace("data-sources", "delete", "eu", "--force").out
    ended = headrace("route", "explain", "globex", "shop", *IN)
    assert (ended.code, "data source eu is disabled" in ended.out) == (1, True)
    assert headrace("data-sources", "activate", "eu", "--json").json["state"] == "active"
    assert headrace("route", "explain", "globex", "shop", *IN).out.splitlines()[-1] == "eu: its own."


def test_a_default_is_set_with_a_preview_and_outlives_an_apply(here: Path, headrace: Command) -> None:
    url = f"sqlite:///{here}/new.db"
    added = ("data-sources", "add", "New", "--schema", "shop", "--group", "testing", "--url", url, "--json")
    id_ = headrace(*added).json["id"]
    headrace("customers", "create", "late", "--group", "testing")
    test = here / "config/data_sources/test.json"
    test.write_text(test.read_text().replace(', "default_for": ["testing"]', ""))
    assert headrace("apply").code == 0
    told = headrace("data-sources", "default", "shop", id_, "--group", "testing", "--dry-run", "--json").json
    assert [(c["customer"], c["from"], c["to"]) for c in told["customers"]] == [("late", None, id_)]
    assert headrace("route", "explain", "late", "shop", "--group", "testing").code == 1
    assert headrace("data-sources", "default", "shop", id_, "--group", "testing").code == 0
    assert headrace("apply").code == 0
    where = headrace("route", "explain", "late", "shop", "--group", "testing", "--json").json
    assert (where["data_source"], where["via"], where["refusal"]) == (id_, "default", None)


def test_the_audit_tells_who_did_what_and_what_was_refused(here: Path, headrace: Command) -> None:
    headrace("customers", "create", "hooli", *IN)
    headrace("customers", "create", "hooli", "--data-source", "eu", *IN)
    lines = headrace("audit", "--since", "1h", "--customer", "hooli", "--json").json
    assert [(x["action"], x["outcome"]) for x in lines] == [
        ("customer.create", "refused"),
        ("customer.create", "done"),
    ]
    assert lines[0]["actor"].startswith("cli:")
    assert lines[0]["detail"]["code"] == "customer_exists_with_different_mapping"
    assert headrace("audit", "--group", "testing", "--json").json == []
    assert "customer.create" in headrace("audit").out


def test_a_file_takes_no_database_that_was_added(here: Path, headrace: Command) -> None:
    url = f"sqlite:///{here}/new.db"
    headrace("data-sources", "add", "New", "--schema", "shop", *IN, "--url", url)
    store = (here / "config/data_sources/eu.json").read_text()
    (here / "config/data_sources/mine.json").write_text(
        store.replace("/eu.db", "/new.db").replace('"eu-1"', '"mine"')
    )
    ended = headrace("apply")
    assert ended.code == 1
    assert "mine.json: the tables belong to data source 'api_" in ended.err


def test_an_added_data_source_whose_file_is_gone_is_told_and_stops_no_other(
    here: Path, headrace: Command
) -> None:
    added = ("data-sources", "add", "New", "--schema", "shop", *IN, "--json")
    id_ = headrace(*added, "--url", f"sqlite:///{here}/new.db").json["id"]
    (here / "new.db").unlink()
    (here / "new.db").mkdir()
    ended = headrace("apply")
    assert ended.code == 1
    assert f"data source {id_}:" in ended.err
    assert "config/" not in ended.err
