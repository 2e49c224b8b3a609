"""`examples/embed` as its README starts it: a backend that mints, and what its page asks `headrace web`."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.command import Command
from tests.integration.test_web_process import KEY, serving
from tests.integration.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "embed"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def backend(port: int, **environment: str) -> Iterator[httpx.Client]:
    """The example's backend, and a browser's session with it."""
    url = f"http://127.0.0.1:{port}"
    settings = os.environ | {"PORT": str(port)} | environment
    process = subprocess.Popen([sys.executable, EXAMPLE / "backend.py"], env=settings, stderr=subprocess.PIPE)
    try:
        with httpx.Client(base_url=url) as client:
            assert process.stderr is not None
            assert process.stderr.readline() == f"{url}\n".encode()
            yield client
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def page(project: Path, headrace: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser on the example's page."""
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", KEY)
    token = headrace("tokens", "create", "backend", "--group", "production", "--write").out.strip()
    port = free_port()
    with serving(HEADRACE_HTTP_ORIGINS=f"http://127.0.0.1:{port}") as web:
        with backend(port, HEADRACE_API=web.url(), HEADRACE_TOKEN=token) as client:
            yield client
        assert token not in web.logged()


def listed(client: httpx.Client, minted: dict[str, str], **asked: Any) -> Any:
    """What the page's script asks for, as the browser sends it: of another origin."""
    headers = {"Origin": str(client.base_url), "Authorization": f"Bearer {minted['token']}"}
    answer = httpx.get(f"{minted['api']}/embed/v1/records/users", params=asked, headers=headers)
    assert answer.headers["Access-Control-Allow-Origin"] == str(client.base_url)
    return answer.json()


def signed_in(client: httpx.Client, user: str) -> dict[str, str]:
    """What the backend gives to the page of this user."""
    assert client.post("/sign-in", content=user).json() == {"user": user}
    minted: dict[str, str] = client.get("/token").json()
    assert minted.keys() == {"token", "expires_at", "api", "user"}
    return minted


def test_the_page_lists_the_records_of_who_is_signed_in_and_nobody_elses(page: httpx.Client) -> None:
    assert page.get("/token").status_code == 401
    for user, customer in (("ada", "acme"), ("hank", "globex"), ("peter", "initech")):
        minted = signed_in(page, user)
        found = listed(page, minted, sort="-total_spent", limit=50, fields="email", customer="acme")
        assert {record["email"].partition("@")[2] for record in found["items"]} == {f"{customer}.example"}


def test_the_page_asks_for_what_there_is(page: httpx.Client) -> None:
    script = page.get("/page.js").text
    columns = re.findall(r"(\w+): \"", script[script.index("COLUMNS") : script.index("NUMBERS")])
    minted = signed_in(page, "ada")
    asked = {"sort": "-total_spent", "limit": 10, "fields": ",".join(columns), "filter": "email:contains:a"}
    first = listed(page, minted, **asked)
    second = listed(page, minted, **asked, after=first["next"])
    assert list(first["items"][0]) == columns
    assert not [record for record in second["items"] if record in first["items"]]


def test_a_revoked_token_is_refused_and_the_backend_gives_the_page_another(
    page: httpx.Client, headrace: Command
) -> None:
    minted = signed_in(page, "ada")
    (key,) = headrace("tokens", "keys", "list", "--json").json
    assert headrace("tokens", "keys", "revoke", key["kid"]).code == 0
    until(lambda: listed(page, minted).get("code") == "unauthenticated")
    until(lambda: "items" in listed(page, page.get("/token").json()))  # signed by a new key within a second


def test_the_pages_own_backend_alone_has_the_api_token(page: httpx.Client) -> None:
    signed_in(page, "ada")
    for path in ("/", "/page.js", "/token"):
        answer = page.get(path)
        assert answer.status_code == 200
        assert "hrt_" not in answer.text
    assert page.get("/backend.py").status_code == 404
