"""Whatever reads or writes records without saying whose they are finds nothing, and fails."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import InvariantError, RefusedError
from headrace.ports.records import RecordReader
from headrace.steps.records import Reading
from headrace.web.app import create_app
from headrace.web.auth import Gate
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


def test_a_handler_that_is_reached_past_the_gate_finds_nobody_who_asks(made: Estate) -> None:
    api = create_app(made.site.application)
    layers: list[Any] = api.user_middleware
    kept = [layer for layer in layers if layer.cls is not Gate]
    assert len(kept) == len(layers) - 1
    api.user_middleware = kept
    headers = {"Authorization": f"Bearer {made.site.staff_token()}"}
    with WebClient(api) as past:
        for method, path in made.site.operations():
            answer = past.request(method, path, headers=headers)
            assert answer.status_code in {401, 422}, (method, path)
            assert found_in(answer.content) == set()
