"""Every operation, asked by nobody, by each customer and by the staff of each group, about everything: no
byte of any answer, log line or metric is somebody else's."""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Iterator

import httpx
import pytest

from headrace import logs
from tests.acceptance.isolation.estate import GROUPS, Estate
from tests.acceptance.isolation.markers import Asker
from tests.acceptance.isolation.requests import CHANGING, EMBED, READING, STAFF, Call, Calls, Targets
from tests.integration.web_client import WebClient
from workers.sync import run_sync

VICTIMS = {group: (group, "c3") for group in GROUPS}
UNLISTED = {"GET /metrics", "GET /openapi.json"}
"""Of these the document says nothing."""
MOVES = f"GET {STAFF}/moves/{{move_id}}"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All log lines of this process, as JSON."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level, known = root.handlers[:], root.level, set(logs._secrets)
    logs.configure("json", level="debug", stream=stream)
    monkeypatch.setattr(logging.getLogger("httpx"), "level", logging.WARNING)  # what the test itself asks
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logs._secrets.clear()
    logs._secrets.update(known)


class Scan:
    """Asks, and searches each answer whole."""

    def __init__(self, made: Estate, client: WebClient) -> None:
        self.made = made
        self.client = client
        self.targets = Targets(made, list(made.customers), VICTIMS)
        self.leaks: list[str] = []
        self.statuses: dict[str, set[int]] = defaultdict(set)
        self.answers = 0

    def ask(self, operation: str, asker: Asker, calls: Calls) -> Iterator[httpx.Response]:
        method = operation.split(" ")[0]
        for call in calls(self.targets):
            answer = self._sent(method, asker, call)
            self.answers += 1
            self.statuses[operation].add(answer.status_code)
            self._search(operation, asker, call, answer)
            yield answer

    def _sent(self, method: str, asker: Asker, call: Call) -> httpx.Response:
        headers = dict(call.headers)
        if asker.token is not None:
            headers["Authorization"] = f"Bearer {asker.token}"
        body = {} if call.json is None else {"json": call.json}
        return self.client.request(method, call.path, params=call.params, headers=headers, **body)

    def _search(self, operation: str, asker: Asker, call: Call, answer: httpx.Response) -> None:
        head = f"{answer.status_code} {answer.reason_phrase}\n".encode()
        data = head + b"".join(b"%s: %s\n" % pair for pair in answer.headers.raw) + b"\n" + answer.content
        for what in self.made.markers.foreign(data, asker, call.about, sent=str(call.params)):
            self.leaks.append(f"{operation} by {asker.name}: {call} shows {what}")
        if answer.status_code >= 500 and answer.status_code != 503:
            self.leaks.append(f"{operation} by {asker.name}: {call} is answered with {answer.text}")


@pytest.fixture
def scan(made: Estate, client: WebClient) -> Scan:
    made.site.application.route_cache.watch()
    return Scan(made, client)


def document(made: Estate) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, of_path in made.site.api.openapi()["paths"].items()
        for method in of_path
    }


def test_nobody_is_shown_what_is_anothers(scan: Scan, made: Estate, logged: io.StringIO) -> None:
    assert document(made) == (READING.keys() | CHANGING.keys()) - UNLISTED, "an operation nobody asked"
    assert len(made.resident()) >= 20
    for who in made.customers:
        assert made.found(scan.client, who) == made.markers.of(who), who

    askers = made.askers()
    read(scan, [asker for asker in askers if "write" not in asker.name])
    change(scan, [asker for asker in askers if "write" in asker.name or asker.group is None])
    assert not run_sync(made.site.application).failed
    read(scan, [asker for asker in askers if "read" in asker.name])
    for who in set(made.customers) - set(VICTIMS.values()):
        assert made.found(scan.client, who) == made.markers.of(who), who

    assert scan.leaks == [], "\n".join(scan.leaks)
    assert scan.answers > 3_000
    served = {operation for operation, statuses in scan.statuses.items() if statuses & {200, 201, 202, 204}}
    assert scan.statuses.keys() - served == set(), "an operation nobody was let do"
    told = logged.getvalue()
    assert '"event"' in told
    assert made.markers.foreign(told.encode(), Asker("whoever reads logs")) == []


def read(scan: Scan, askers: list[Asker]) -> None:
    for operation, calls in READING.items():
        for asker in askers:
            mine = asker.customer is None or operation.split(" ")[1].startswith(EMBED)
            for _ in scan.ask(operation, asker, calls if mine else first(calls)):
                pass


def change(scan: Scan, askers: list[Asker]) -> None:
    """Each operation by all of them, before the next."""
    for operation, calls in CHANGING.items():
        for asker in askers:
            for answer in scan.ask(operation, asker, calls if asker.group else first(calls)):
                if answer.status_code < 300 and asker.group is not None:
                    _note(scan, operation, asker.group, answer)
        for asker in askers:
            list(scan.ask(MOVES, asker, READING[MOVES]))


def first(calls: Calls) -> Calls:
    """Who is refused for its token is refused whatever it asks."""
    return lambda targets: iter(list(calls(targets))[:1])


def _note(scan: Scan, operation: str, group: str, answer: httpx.Response) -> None:
    """What was made is asked about from now on; what was minted is a secret from now on."""
    body = answer.json() if answer.content else {}
    if operation.endswith("/move") and body["state"] == "reading":
        scan.targets.moves[group] = body["id"]
    elif operation == f"POST {STAFF}/data-sources":
        scan.targets.added[group] = body["id"]
    elif operation.endswith("/rotate"):
        scan.targets.kids[group] = body["kid"]
    if body.get("token"):
        scan.made.markers.secrets[body["token"]] = f"a customer's token, minted for {group}"
