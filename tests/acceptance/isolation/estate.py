"""Twenty-seven customers of three visibility groups in five data sources, each read from an app of its own:
the same names and the same keys everywhere, and a marker in whatever is somebody's."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace.control.customers import NewCustomer
from headrace.definition.loader import load
from headrace.domain.assignment import Asked, Named
from tests.acceptance.isolation.markers import Asker, Customer, Markers, found_in
from tests.integration.web_client import WebClient
from tests.integration.web_site import PASSPHRASE, Site, site_of
from workers.sync import run_sync

GROUPS = ("production", "testing", "partners")
NAMES = tuple(f"c{n}" for n in range(1, 9))
HOOK_SECRET = "whsec_" + base64.b64encode(b"a secret that triggers are signed by").decode()
RECORDS = {"users": 3, "bills": 2}
STAMP = "2024-01-01 00:00:00.000"

SERVED = {
    "post_one": ("production", "testing"),
    "post_two": ("production",),
    "post_three": ("testing", "partners"),
    "lite_one": ("production", "partners"),
    "lite_two": ("testing",),
}
"""Which groups each data source serves."""
DEFAULT = {"production": "post_one", "testing": "post_one", "partners": "post_three"}
READ_BY_ROLE = ("post_one", "post_three")
BY_API = "partners"
"""The group whose default the API sets."""
TURNS = {
    "production": ("post_one", "post_two", "lite_one"),
    "testing": ("post_three", "lite_two", "post_one"),
    "partners": ("lite_one", "post_three", "post_three"),
}
"""Where the customers of a group are, in turn: those of one name are in different ones."""
CHILD = ("production", "c8")
"""It is below c7, and inherits."""
EMPTY = "c9"
"""In each group a customer of this name: in production it has records in the default that testing shares; in
the other groups it has none."""


WHO_HAS_RECORDS = [
    (group, name) for group in GROUPS for name in (*NAMES, EMPTY) if name != EMPTY or group == GROUPS[0]
]


def place_of(group: str, name: str) -> str:
    if name == EMPTY:
        return DEFAULT[group]
    above = "c7" if (group, name) == CHILD else name
    return TURNS[group][int(above[1:]) % 3]


def app_of(group: str, name: str) -> str:
    return f"{group}_{name}"


@dataclass
class Estate:
    """All that was made, over one process's API."""

    directory: Path
    site: Site
    markers: Markers
    customers: dict[Customer, str] = field(default_factory=dict)
    """Control's id."""

    def askers(self) -> list[Asker]:
        """Nobody, the staff of each group with either token, and each customer."""
        made = [Asker("nobody")]
        for group in GROUPS:
            for access in ("read", "write"):
                token = self.site.staff_token(group, access)
                self.markers.secrets[token.split("_", 2)[2]] = f"an API token of {group}"
                made.append(Asker(f"{access} of {group}", token, group))
        return made + [self.customer(who) for who in self.customers]

    def customer(self, who: Customer) -> Asker:
        token = self.site.customer_token(self.customers[who])
        return Asker("/".join(who), token, customer=who)

    def found(self, client: WebClient, who: Customer) -> set[str]:
        """The markers in all records that the customer is shown, which are its own or the test fails."""
        headers = {"Authorization": f"Bearer {self.customer(who).token}"}
        shown: set[str] = set()
        for model in RECORDS:
            answer = client.get(f"/embed/v1/records/{model}", headers=headers)
            assert answer.status_code == 200, (who, answer.text)
            shown |= found_in(answer.content)
        assert shown <= self.markers.of(who), (who, shown - self.markers.of(who))
        return shown

    def in_place(self, data_source: str) -> list[Customer]:
        """Those whose records are in the data source."""
        return [who for who in self.resident() if place_of(*who) == data_source]

    def resident(self) -> list[Customer]:
        """Those who have records."""
        return [who for who in self.customers if self.markers.of(who)]


@contextmanager
def estate(directory: Path, postgres_url: str, patch: pytest.MonkeyPatch, **changes: Any) -> Iterator[Estate]:
    """Applied and synced. `changes`: settings."""
    markers = Markers()
    markers.secrets[PASSPHRASE] = "the passphrase that seals secrets"
    markers.secrets[HOOK_SECRET] = "the secret by which triggers are signed"
    patch.setenv("SITE", str(directory))
    with _role(postgres_url, markers) as read_url:
        patch.setenv("READ_URL", read_url)
        yield from _made(directory, postgres_url, patch, markers, changes)


def _made(
    directory: Path,
    postgres_url: str,
    patch: pytest.MonkeyPatch,
    markers: Markers,
    changes: dict[str, Any],
) -> Iterator[Estate]:
    for place, body in _definitions(markers).items():
        if body.get("type") == "postgres":
            password = markers.make("a password of a data source")
            patch.setenv(f"URL_{body['namespace'].upper()}", with_user(postgres_url, "postgres", password))
        file = directory / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    for who in WHO_HAS_RECORDS:
        _fill_app(directory / f"{app_of(*who)}.db", who, markers)
    changed = {
        "config_dir": directory / "config",
        "sqlite_dir": directory,
        "trigger_secrets": (HOOK_SECRET,),
        **changes,
    }
    with site_of(directory, **changed) as site:
        report = site.application.apply(load(directory / "config", dict(os.environ)))
        assert not report.failed, report
        made = Estate(directory, site, markers)
        site.application.data_sources.set_default(BY_API, "shop", DEFAULT[BY_API], actor="cli:test")
        _make_customers(made)
        assert not run_sync(site.application).failed
        yield made


@contextmanager
def _role(postgres_url: str, markers: Markers) -> Iterator[str]:
    """A role that only reads, as whom some of the data sources are read; its URL."""
    name = f"headrace_reader_{secrets.token_hex(4)}"
    password = markers.make("a password of a role")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
    try:
        yield with_user(postgres_url, name, password)
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def with_user(url: str, user: str, password: str) -> str:
    return f"postgresql://{user}:{password}@{url.rpartition('@')[2]}"


def _definitions(markers: Markers) -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {"schemas/shop": {"name": "Shop"}}
    for group in GROUPS:
        made[f"visibility_groups/{group}"] = {"name": group}
    for group, name in WHO_HAS_RECORDS:
        made[f"apps/{app_of(group, name)}"] = {
            "name": markers.make("an app's name", groups=frozenset({group})),
            "type": "sqlite",
            "url": f"sqlite:///${{SITE}}/{app_of(group, name)}.db",
            "customer": name,
            "visibility_group": group,
        }
    for name, groups in SERVED.items():
        place = (
            {"type": "sqlite", "url": f"sqlite:///${{SITE}}/{name}.db"}
            if name.startswith("lite")
            else {"type": "postgres", "url": f"${{URL_{name.upper()}}}", "namespace": name}
        )
        if name in READ_BY_ROLE:
            place["read_url"] = "${READ_URL}"
        made[f"data_sources/{name}"] = {
            "nickname": markers.make("a nickname", groups=frozenset(groups)),
            "provided_id": markers.make("a provided_id of a data source", groups=frozenset(groups)),
            "schema": "shop",
            "visibility_groups": list(groups),
            "default_for": [group for group in groups if DEFAULT[group] == name and group != BY_API],
            **place,
        }
    for model in RECORDS:
        made[f"models/{model}"] = {"name": model, "schema": "shop"}
        made[f"sources/{model}"] = _source(model)
    return made


def _source(model: str) -> dict[str, Any]:
    types = {"org": "string", "id": "integer", "name": "string", "age": "integer"}
    return {
        "name": model,
        "model": model,
        "primary": True,
        "apps": [app_of(*who) for who in WHO_HAS_RECORDS],
        "table": model,
        "key": ["org", "id"],
        "schedule": {"cursor": "updated_at", "clock": "database"},
        "properties": {name: {"type": type_, "column": name} for name, type_ in types.items()},
    }


def _fill_app(file: Path, who: Customer, markers: Markers) -> None:
    """Rows with the same keys for every customer; the `age` of some is a text, which no integer is."""
    with closing(sqlite3.connect(file)) as app, app:
        for model, count in RECORDS.items():
            columns = "org TEXT, id INTEGER, name TEXT, age, updated_at TEXT, PRIMARY KEY (org, id)"
            app.execute(f"CREATE TABLE {model} ({columns})")
            for id_ in range(1, count + 1):
                unfit = markers.make(f"{model} {id_}, unfit", of=who) if id_ == 2 else 30
                row = ("a", id_, markers.make(f"{model} {id_}", of=who), unfit, STAMP)
                app.execute(f"INSERT INTO {model} VALUES (?, ?, ?, ?, ?)", row)


def _make_customers(made: Estate) -> None:
    """c9 takes the default."""
    customers = made.site.application.customers
    for group in GROUPS:
        for name in (*NAMES, EMPTY):
            bound = Asked(mapping={"shop": Named(id=place_of(group, name))})
            new = NewCustomer(
                provided_id=name,
                name=made.markers.make("a customer's name", groups=frozenset({group})),
                properties={"plan": made.markers.make("a customer's property", groups=frozenset({group}))},
                parent="provided:c7" if (group, name) == CHILD else None,
                asked=Asked() if name == EMPTY or (group, name) == CHILD else bound,
            )
            view, _ = customers.create(group, new, actor="cli:test")
            made.customers[group, name] = view.id
