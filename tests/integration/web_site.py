"""The HTTP API over a control database with customers in two visibility groups, for tests of who may ask."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI

from headrace import settings, wiring
from headrace.control.engine import writing
from headrace.control.tables import customer
from headrace.control.types import now
from headrace.web.app import create_app
from headrace.web.auth import EMBED_PATH, STAFF_PATH
from headrace.wiring import Application
from tests.integration.web_client import WebClient

ME = "cli:test"
PASSPHRASE = "a passphrase of this test"
CUSTOMERS = {
    "c-acme": ("acme", "production"),
    "c-globex": ("globex", "production"),
    "t-acme": ("acme", "testing"),
}


@dataclass
class Site:
    """One process's API, with an API token of each kind."""

    application: Application
    api: FastAPI
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def client(self, group: str = "production", access: str = "write") -> WebClient:
        """A program that holds such a token."""
        return WebClient(self.api, self.staff_token(group, access))

    def staff_token(self, group: str = "production", access: Any = "write") -> str:
        if (group, access) not in self.tokens:
            made = self.application.tokens.create("test", visibility_group=group, access=access, actor=ME)
            self.tokens[group, access] = made.text
        return self.tokens[group, access]

    def customer_token(self, customer_id: str = "c-acme", **how: Any) -> str:
        subject = self.application.token_subjects.current(customer_id)
        assert subject is not None
        text: str = self.api.state.customer_tokens.mint(subject, **how).text
        return text

    def operations(self) -> list[tuple[str, str]]:
        """Method and path of all that the OpenAPI document lists behind the gate, with some text for each
        parameter of a path."""
        paths: Mapping[str, Any] = self.api.openapi()["paths"]
        found = itertools.chain.from_iterable(
            ((method.upper(), path) for method in of_path) for path, of_path in paths.items()
        )
        behind = [(method, path) for method, path in found if path.startswith((STAFF_PATH, EMBED_PATH))]
        return [(method, path.replace("{", "").replace("}", "")) for method, path in behind]


@contextmanager
def site_of(directory: Path, **changes: Any) -> Iterator[Site]:
    """A site over a new control database in this directory. `changes`: settings."""
    changed = {"http_rate": 0, "secret_keys": (PASSPHRASE,), "http_origins": ("https://app.test",), **changes}
    url = f"sqlite:///{directory / 'control.db'}"
    with wiring.build(settings.load(**{"control_url": url, **changed}), process="web") as application:
        application.upgrade()
        add_customers(application)
        yield Site(application, create_app(application))


def add_customers(application: Application) -> None:
    rows = [
        {"id": id_, "provided_id": provided, "name": provided, "visibility_group": group, "properties": {}}
        for id_, (provided, group) in CUSTOMERS.items()
    ]
    with writing(application.engine) as connection:
        connection.execute(sa.insert(customer).values(origin="api", made_at=now()), rows)
