"""Whatever reads or writes records without saying whose they are finds nothing, and fails."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import InvariantError, RefusedError
from headrace.ports.records import RecordReader
from headrace.steps.records import Reading
from headrace.web.app import create_app
from headrace.web.auth import Gate, StaffContext
from tests.acceptance.isolation.estate import SERVED, Estate
from tests.acceptance.isolation.markers import found_in
from tests.integration.web_client import WebClient


@pytest.fixture
def made(lasting: Estate) -> Estate:
    return lasting


@pytest.mark.parametrize("data_source", SERVED)
def test_a_read_of_nobody_is_a_bug(made: Estate, data_source: str) -> None:
    reader: RecordReader = made.site.application.stores.reader(DataSourceId(data_source))
    model = made.site.application.catalogue().model(ModelId("users"))
    with pytest.raises(InvariantError):
        reader.page(model, RecordQuery(), customer="", routed_at=10**9)
    with pytest.raises(InvariantError):
        reader.one(model, ("a", "1"), customer="", routed_at=10**9)


@pytest.mark.parametrize("whose", [("", "c1"), ("production", ""), ("nobodys", "c1"), ("production", "c10")])
def test_nobody_is_led_anywhere(made: Estate, whose: tuple[str, str]) -> None:
    application = made.site.application
    reading = Reading(*whose, "shop", application.catalogue().model(ModelId("users")))
    with pytest.raises(RefusedError):
        application.records.page(reading, RecordQuery())


def test_staff_name_a_customer_of_their_group_or_are_refused(made: Estate, client: WebClient) -> None:
    headers = {"Authorization": f"Bearer {made.site.staff_token('production', 'read')}"}
    for query in ("", "?customer=", "?customer=provided:", "?customer=%20", "?customer=*", "?customer=%25"):
        for path in ("/api/v1/records/users", "/api/v1/records/users/a/1"):
            answer = client.get(path + query, headers=headers)
            assert answer.status_code in {404, 422}, (query, answer.text)
            assert found_in(answer.content) == set()


def past_the_gate(made: Estate) -> FastAPI:
    """The API as it were if its gate were forgotten."""
    api = create_app(made.site.application)
    layers: list[Any] = api.user_middleware
    kept = [layer for layer in layers if layer.cls is not Gate]
    assert len(kept) == len(layers) - 1
    api.user_middleware = kept
    return api


def test_a_handler_that_is_reached_past_the_gate_finds_nobody_who_asks(made: Estate) -> None:
    headers = {"Authorization": f"Bearer {made.site.staff_token()}"}
    with WebClient(past_the_gate(made)) as past:
        for method, path in made.site.operations():
            answer = past.request(method, path, headers=headers)
            assert answer.status_code in {401, 422}, (method, path)
            assert found_in(answer.content) == set()


def test_a_handler_that_changes_things_asks_for_itself_whether_the_token_may(made: Estate) -> None:
    reader = StaffContext(token_id="t", visibility_group="production", may_write=False, actor="token:t")
    api = past_the_gate(made)

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        await api({**scope, "headrace.staff": reader}, receive, send)

    with WebClient(let_in) as past:
        assert past.get("/api/v1/customers").status_code == 200
        for method, path in made.site.operations():
            if method != "GET":
                assert past.request(method, path).status_code in {403, 422}, (method, path)
        for method, path, body in (
            ("POST", "/api/v1/customers", {"provided_id": "new"}),
            ("PATCH", "/api/v1/customers/provided:c1", {"name": "new"}),
            ("POST", "/api/v1/customers/provided:c1/impact", {"name": "new"}),
            ("POST", "/api/v1/customers/provided:c1/move", {"schema": "shop", "to": "post_one"}),
            ("PUT", "/api/v1/schemas/shop/default", {"data_source_id": None}),
            ("PATCH", "/api/v1/data-sources/post_two", {"nickname": "new"}),
            ("POST", "/api/v1/data-sources", NEW | {"nickname": "new"}),
            ("POST", "/api/v1/data-sources/test", NEW),
        ):
            assert past.request(method, path, json=body).status_code == 403, path


NEW = {"schema": "shop", "type": "sqlite", "url": "sqlite:///new.db"}
