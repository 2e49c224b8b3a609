"""`headrace web` and `headrace tokens` as they are run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.command import HEADRACE, Command
from tests.integration.waiting import SOON_S, until

KEY = "a passphrase of this test"


class Serving:
    """A running `headrace web`."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process = process
        self._stderr = stderr

    def logged(self) -> str:
        return self._stderr.read_text()

    def url(self) -> str:
        until(lambda: "the API is served" in self.logged() or self.process.poll() is not None)
        lines = [json.loads(line) for line in self.logged().splitlines()]
        return next(
            f"http://127.0.0.1:{line['port']}" for line in lines if line["event"] == "the API is served"
        )


@contextmanager
def serving(**environment: str) -> Iterator[Serving]:
    stderr = Path("web.stderr")
    settings = {"HEADRACE_HTTP_PORT": "0", "HEADRACE_LOG_FORMAT": "json", "HEADRACE_SECRET_KEYS": KEY}
    with stderr.open("wb") as out:
        process = subprocess.Popen([HEADRACE, "web"], env=os.environ | settings | environment, stderr=out)
        try:
            yield Serving(process, stderr)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def example(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", KEY)
    return project


def refused(**environment: str) -> str:
    """What `headrace web` says that it does not start for."""
    ended = subprocess.run(
        [HEADRACE, "web"], env=os.environ | environment, capture_output=True, text=True, timeout=SOON_S
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


def token(headrace: Command, *arguments: str) -> str:
    made = headrace("tokens", "create", "backend", "--group", "production", *arguments)
    assert made.code == 0, made.err
    return made.out.strip()


def test_the_process_serves_until_sigterm_and_ends_well(headrace: Command) -> None:
    text = token(headrace, "--write")
    with serving() as web:
        url = web.url()
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/readyz").json() == {"ready": True}
        assert httpx.get(f"{url}/api/v1/sources").status_code == 401
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {text}"}) as staff:
            sources = staff.get("/api/v1/sources").json()["items"]
            assert "users" in {source["id"] for source in sources}
            minted = staff.post("/api/v1/customers/provided:acme/tokens")
            assert minted.status_code == 201
            customers = {"Authorization": f"Bearer {minted.json()['token']}"}
            assert staff.get("/embed/v1/nowhere", headers=customers).status_code == 404
            assert staff.post("/api/v1/sources/users/trigger", json={"keys": [["1"]]}).status_code == 202
            assert 'route="/api/v1/sources"' in staff.get("/metrics").text
        web.process.send_signal(signal.SIGTERM)
        assert web.process.wait(SOON_S) == 0
        logged = web.logged()
    events = [json.loads(line)["event"] for line in logged.splitlines()]
    assert events == ["process started", "the API is served", "process ended"]
    for secret in (text, minted.json()["token"], KEY):
        assert secret not in logged


def test_metrics_with_a_port_of_their_own_are_not_where_the_api_is(headrace: Command) -> None:
    with serving(HEADRACE_METRICS_PORT="0") as web:
        api = web.url()
        lines = [json.loads(line) for line in web.logged().splitlines()]
        port = next(line["port"] for line in lines if line["event"] == "metrics are served")
        assert httpx.get(f"{api}/metrics").status_code == 404
        assert httpx.get(f"{api}/readyz").json() == {"ready": True}
        own = f"http://127.0.0.1:{port}"
        assert "headrace_http_requests_total{" in httpx.get(f"{own}/metrics").text
        for path in ("healthz", "readyz"):
            assert httpx.get(f"{own}/{path}").text == "ok\n"


def test_a_request_that_runs_when_the_process_is_stopped_is_answered(headrace: Command) -> None:
    text = token(headrace, "--write")
    with serving() as web, httpx.Client(base_url=web.url(), timeout=SOON_S) as client:

        def slowly() -> Iterator[bytes]:
            yield b'{"ttl_s": '
            web.process.send_signal(signal.SIGTERM)
            until(lambda: not _listens(web.url()))
            yield b"60}"

        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
        answer = client.post("/api/v1/customers/provided:acme/tokens", content=slowly(), headers=headers)
        assert answer.status_code == 201
        assert web.process.wait(SOON_S) == 0


def _listens(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz", timeout=1)
    except httpx.TimeoutException:
        return True
    except httpx.TransportError:
        return False
    return True


def test_it_does_not_start_without_keys() -> None:
    assert "HEADRACE_SECRET_KEYS: set it: it seals" in refused(HEADRACE_SECRET_KEYS="")


def test_it_does_not_start_where_nothing_is_applied(headrace: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    told = refused(HEADRACE_CONTROL_URL=url, HEADRACE_SECRET_KEYS="")
    assert "the control database is empty: run `headrace db upgrade`" in told
    assert "HEADRACE_SECRET_KEYS" in told
    assert not (tmp_path / "new.db").exists()
    subprocess.run([HEADRACE, "db", "upgrade"], env=os.environ | {"HEADRACE_CONTROL_URL": url}, check=True)
    assert "nothing is applied yet" in refused(HEADRACE_CONTROL_URL=url)


def test_it_does_not_start_on_a_port_that_is_taken(headrace: Command) -> None:
    with serving() as web:
        port = web.url().rsplit(":", 1)[1]
        assert f"HEADRACE_HTTP_PORT: port {port} of 127.0.0.1 is taken" in refused(HEADRACE_HTTP_PORT=port)


# --- tokens -------------------------------------------------------------------------------------


def test_a_token_is_printed_once_alone_on_standard_output(headrace: Command) -> None:
    made = headrace("tokens", "create", "backend", "--group", "production")
    assert re.fullmatch(r"hrt_[0-9a-f]{12}_[\w-]{43}\n", made.out)
    assert "This is shown once" in made.err
    listed = headrace("tokens", "list", "--json")
    assert made.out.strip() not in listed.out
    (line,) = listed.json
    assert list(line) == ["id", "name", "group", "access", "made_at", "last_used_at", "revoked_at"]
    assert (line["name"], line["group"], line["access"], line["revoked_at"]) == (
        "backend",
        "production",
        "read",
        None,
    )
    as_json = headrace("tokens", "create", "two", "--group", "production", "--write", "--json").json
    assert list(as_json) == ["id", "group", "access", "token"]
    assert as_json["access"] == "write"


def test_a_token_is_of_a_group_that_there_is(headrace: Command) -> None:
    ended = headrace("tokens", "create", "backend", "--group", "productions")
    assert ended.code == 2
    assert 'no visibility group "productions"' in ended.err
    assert "production" in ended.err


def test_tokens_are_revoked_by_their_id(headrace: Command) -> None:
    id_ = token(headrace).split("_")[1]
    assert headrace("tokens", "revoke", id_).out == f"{id_}: revoked.\n"
    assert headrace("tokens", "list", "--json").json[0]["revoked_at"] is not None
    unknown = headrace("tokens", "revoke", "nobody")
    assert (unknown.code, unknown.err) == (
        1,
        "failed: there is no token nobody: see `headrace tokens list` [not_found]\n",
    )


def test_keys_are_rotated_revoked_and_resealed(headrace: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = headrace("tokens", "keys", "list", "--json").json
        return listed

    for _ in range(2):
        assert headrace("tokens", "keys", "rotate", "--group", "production").code == 0
    assert [key["state"] for key in keys()] == ["verify_only", "active"]
    assert list(keys()[0]) == ["kid", "group", "algorithm", "state", "made_at"]
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", f"new, {KEY}")
    assert headrace("tokens", "reseal").out == "2 secrets sealed with the first key.\n"
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", "another")
    lost = headrace("tokens", "reseal")
    assert lost.code == 2
    assert "no key of HEADRACE_SECRET_KEYS opens signing_key" in lost.err
    kid = keys()[0]["kid"]
    assert headrace("tokens", "keys", "revoke", kid).out == f"{kid}: revoked.\n"
    assert keys()[0]["state"] == "revoked"
