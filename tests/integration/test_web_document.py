"""The API answers as its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headrace.definition.loader import load
from tests.integration.test_web_sources import DEFINITIONS, GROUPS
from tests.integration.web_site import Site, site_of

EXAMPLES = 50
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
KNOWN = {
    "customer": ["c-acme", "provided:acme", "t-acme", "c-globex"],
    "schema": ["s"],
    "model": ["users", "bills"],
    "source": ["users", "secrets"],
    "data_source": ["prod", "test"],
    "key": ["1/a"],
}
"""Values of parameters that name something: random ones find nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SITE", str(directory))
        for name, body in DEFINITIONS.items():
            file = directory / "config" / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(body))
        for name in GROUPS.values():
            with closing(sqlite3.connect(directory / f"{name}.db")) as database, database:
                columns = "id INTEGER NOT NULL, part TEXT NOT NULL, updated_at TEXT, PRIMARY KEY (id, part)"
                database.execute(f"CREATE TABLE users ({columns})")
                database.execute("INSERT INTO users VALUES (1, 'a', '2024-01-01 00:00:00')")
        with site_of(directory, config_dir=directory / "config") as site:
            site.application.apply(load(directory / "config", {"SITE": str(directory)}))
            for feed in site.application.status.feed_status():
                site.application.poll(feed.feed_id)
            for target in site.application.targets():
                site.application.merge(*target)
            yield site


def asked(operation: Any) -> st.SearchStrategy[Any]:
    """Requests of the operation, half of them about something that there is."""

    @st.composite
    def cases(draw: st.DrawFn) -> Any:
        case = draw(operation.as_strategy())
        if draw(st.booleans()):
            for name in case.path_parameters:
                if name in KNOWN:
                    case.path_parameters[name] = draw(st.sampled_from(KNOWN[name]))
            for name in set(case.query or ()) & set(KNOWN):
                case.query[name] = draw(st.sampled_from(KNOWN[name]))
        return case

    return cases()


@pytest.mark.parametrize("kind", ["nobody", "reader", "writer", "customer"])
def test_no_request_is_answered_otherwise_than_the_document_says(site: Site, kind: str) -> None:
    owner = site.application.token_subjects.find("provided:prod", visibility_group="production")
    tokens = {
        "reader": lambda: site.staff_token(access="read"),
        "writer": site.staff_token,
        "customer": lambda: site.customer_token(owner.id),
    }
    headers = {"Authorization": f"Bearer {tokens[kind]()}"} if kind in tokens else {}
    schema = schemathesis.openapi.from_asgi("/openapi.json", site.api)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        may_pass = operation.path.startswith("/embed") == (kind == "customer") and kind != "nobody"

        @settings(
            max_examples=EXAMPLES if may_pass else 3,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=asked(operation))
        def check(case: Any) -> None:
            response = case.call(headers=headers)
            case.validate_response(response, headers=headers, checks=CHECKS)

        check()
