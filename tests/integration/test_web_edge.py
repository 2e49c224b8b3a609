"""What stands before every route: problems, limits, origins, headers, metrics, health."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, SecretStr, field_validator

from headrace.domain.refusal import Refusal
from headrace.errors import ConfigurationError, HeadraceError, RefusedError, StoreUnavailableError
from headrace.metrics import REGISTRY
from headrace.web.problem import STATUS
from tests.integration.web_client import WebClient
from tests.integration.web_site import Site, site_of

SECRET = "hunter2-of-this-test"


class Body(BaseModel):
    """Of the test's own route."""

    number: int
    password: SecretStr = SecretStr("")

    @field_validator("password")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 100:
            raise ValueError("is too short")
        return value


def failing(error: Exception) -> Any:
    def handler() -> None:
        raise error

    return handler


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_of(tmp_path, http_max_body_bytes=1000) as site:
        yield site


@pytest.fixture
def staff(site: Site) -> Iterator[WebClient]:
    with site.client() as client:
        yield client


def failed(site: Site, staff: WebClient, error: Exception) -> tuple[int, dict[str, Any]]:
    """What a request is answered whose handler ends in this error."""
    site.api.get("/api/v1/failing")(failing(error))
    response = staff.get("/api/v1/failing?password=" + SECRET)
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["instance"] == "/api/v1/failing"
    return response.status_code, problem


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Refusal)


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_is_a_problem_with_its_code_and_members(
    site: Site, staff: WebClient, refusal: Refusal
) -> None:
    status, problem = failed(site, staff, RefusedError(refusal, "it is so", bound=["a"]))
    assert (status, problem["status"]) == (STATUS[refusal], STATUS[refusal])
    assert (problem["code"], problem["detail"], problem["bound"]) == (refusal, "it is so", ["a"])
    assert problem["type"] == f"urn:headrace:problem:{refusal}"


def test_a_member_never_replaces_what_a_problem_is_made_of(site: Site, staff: WebClient) -> None:
    error = RefusedError(Refusal.NOT_FOUND, "gone", status=200, type="x")
    assert failed(site, staff, error)[1]["status"] == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailableError(f"main at db.internal: {SECRET}"), 503, "unavailable"),
        (ConfigurationError(f"key {SECRET} is wrong"), 503, "unavailable"),
        (HeadraceError(f"a surprise {SECRET}"), 500, "internal_error"),
        (RuntimeError(f"a bug {SECRET}"), 500, "internal_error"),
        (sa.exc.OperationalError(f"SELECT '{SECRET}'", {}, Exception("boom")), 500, "internal_error"),
    ],
)
def test_an_error_of_ours_is_logged_once_and_told_without_its_text(
    site: Site, staff: WebClient, caplog: pytest.LogCaptureFixture, error: Exception, status: int, code: str
) -> None:
    with caplog.at_level(logging.WARNING):
        answered, problem = failed(site, staff, error)
    assert (answered, problem["code"]) == (status, code)
    assert SECRET not in str(problem)
    assert "db.internal" not in str(problem)
    assert len(caplog.records) == 1


def test_a_refused_request_is_no_line_of_the_log(
    site: Site, staff: WebClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="headrace"):
        failed(site, staff, RefusedError(Refusal.NOT_FOUND, "gone"))
        staff.get("/api/v1/nowhere", headers={"Authorization": f"Bearer {SECRET}"})
    assert caplog.text == ""


def test_what_was_sent_is_not_in_the_answer_to_a_faulty_body(site: Site, staff: WebClient) -> None:
    @site.api.post("/api/v1/echo")
    def echo(body: Body) -> None: ...

    sent = [
        {"number": SECRET, "password": "x" * 100},
        {"number": 1, "password": SECRET},
        {"password": [SECRET]},
        [SECRET],
        SECRET,
        None,
    ]
    answers = [staff.post("/api/v1/echo", json=body) for body in sent]
    answers.append(staff.post("/api/v1/echo", content=b'{"number": "' + SECRET.encode(),
                              headers={"Content-Type": "application/json"}))  # fmt: skip
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert SECRET not in answer.text
        assert answer.json()["errors"]
    assert {"at": "body.password", "message": "is too short"} in answers[1].json()["errors"]


def test_unknown_paths_and_methods_are_problems(staff: WebClient) -> None:
    for path in ("/", "/nowhere", "/api/v1/nowhere", "/api/v1", "/docs", "/redoc"):
        assert (staff.get(path).status_code, staff.get(path).json()["code"]) == (404, "not_found")
    answer = staff.put("/api/v1/sources")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/api/v1/customers/%00/tokens", "/api/v1/runs?source=%00", "/nowhere%00"])
def test_a_nul_is_refused_before_a_database_meets_it(staff: WebClient, path: str) -> None:
    assert staff.get(path).json()["code"] == "invalid_request"


def test_every_answer_says_that_it_is_of_its_type_and_not_to_be_kept(staff: WebClient) -> None:
    for path in ("/healthz", "/nowhere", "/api/v1/signing-keys", "/metrics", "/openapi.json"):
        headers = staff.get(path).headers
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


# --- limits -------------------------------------------------------------------------------------


async def pieces(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b" " * 100


def test_a_body_is_refused_by_the_length_that_it_announces(staff: WebClient) -> None:
    answer = staff.post("/api/v1/customers/c-acme/tokens", content=b" " * 1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(("number", "status"), [(10, 422), (11, 413)])
def test_a_body_of_unknown_length_is_refused_when_it_has_grown_too_big(
    staff: WebClient, number: int, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = staff.post("/api/v1/customers/c-acme/tokens", content=pieces(number), headers=headers)
    assert answer.status_code == status


def test_a_token_that_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    with site_of(tmp_path, http_rate=1, http_burst=3) as site, site.client() as eager:
        statuses = [eager.get("/api/v1/signing-keys").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = eager.get("/api/v1/signing-keys")
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_many_requests", "1")
        with site.client("testing") as other:
            assert other.get("/api/v1/signing-keys").status_code == 200
        token = {"Authorization": f"Bearer {site.customer_token()}"}
        another = {"Authorization": f"Bearer {site.customer_token('c-globex')}"}
        embedded = [eager.get("/embed/v1/nowhere", headers=token).status_code for _ in range(4)]
        assert embedded == [404, 404, 404, 429]
        assert eager.get("/embed/v1/nowhere", headers=another).status_code == 404
        assert eager.get("/healthz").status_code == 200


# --- origins ------------------------------------------------------------------------------------

PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


def test_pages_of_allowed_origins_may_call_embed_and_read_its_refusals(staff: WebClient) -> None:
    origin = {"Origin": "https://app.test"}
    preflight = staff.request("OPTIONS", "/embed/v1/records/users", headers=origin | PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.test"
    assert "access-control-allow-credentials" not in preflight.headers
    refused = staff.get("/embed/v1/nowhere", headers=origin | {"Authorization": "Bearer x"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.test"
    assert "Origin" in refused.headers["vary"]


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("/embed/v1/nowhere", "https://evil.test"),
        ("/embed/v1/nowhere", "https://app.test.evil.test"),
        ("/embed/v1/nowhere", "http://app.test"),
        ("/embed/v1/nowhere", "null"),
        ("/api/v1/sources", "https://app.test"),
        ("/healthz", "https://app.test"),
    ],
)
def test_no_other_page_may_call_anything(staff: WebClient, path: str, origin: str) -> None:
    for answer in (
        staff.get(path, headers={"Origin": origin}),
        staff.request("OPTIONS", path, headers={"Origin": origin} | PREFLIGHT),
    ):
        assert "access-control-allow-origin" not in answer.headers


def test_without_origins_no_page_may_call(tmp_path: Path) -> None:
    with site_of(tmp_path, http_origins=()) as site, site.client() as client:
        headers = {"Origin": "https://app.test"} | PREFLIGHT
        answer = client.request("OPTIONS", "/embed/v1/records/users", headers=headers)
        assert answer.status_code == 401
        assert "access-control-allow-origin" not in answer.headers


# --- health, metrics, document ------------------------------------------------------------------


def test_ready_is_who_has_a_control_database_at_the_newest_migration(
    site: Site, staff: WebClient, tmp_path: Path
) -> None:
    assert (staff.get("/readyz").status_code, staff.get("/readyz").json()) == (200, {"ready": True})
    with site.application.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with WebClient(site.api) as anybody:
        assert (anybody.get("/readyz").status_code, anybody.get("/readyz").json()) == (503, {"ready": False})
        assert anybody.get("/healthz").status_code == 200


def test_metrics_count_by_route_and_never_by_what_was_asked_for(staff: WebClient) -> None:
    def counted(route: str, method: str, status: str) -> float:
        labels = {"route": route, "method": method, "status": status}
        return REGISTRY.get_sample_value("headrace_http_requests_total", labels) or 0.0

    route = "/api/v1/customers/{customer}/tokens"
    before = counted(route, "POST", "201")
    staff.post("/api/v1/customers/c-acme/tokens")
    staff.get("/api/v1/marker-path")
    staff.request("MARKER", "/api/v1/sources")
    assert counted(route, "POST", "201") == before + 1
    text = staff.get("/metrics").text
    assert "headrace_http_request_duration_seconds_bucket" in text
    assert "marker" not in text.lower()
    assert "c-acme" not in text


def test_the_document_names_every_error_and_both_kinds_of_token(site: Site) -> None:
    document = site.api.openapi()
    assert set(document["components"]["securitySchemes"]) >= {"ApiToken"}
    for path, operations in document["paths"].items():
        if not path.startswith(("/api/", "/embed/")):
            continue
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["security"], (method, path)
            assert {"401", "404", "422", "429", "503"} <= set(operation["responses"]), (method, path)
            assert "HTTPValidationError" not in str(operation)
