"""Customers move between data sources, and all processes are killed, again and again: whoever reads meanwhile
finds its own records, all of them, and no byte of anybody else's."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.campaign import MODULES, Fleet
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.isolation.estate import with_user
from tests.acceptance.isolation.markers import Asker, Customer, Markers
from tests.acceptance.project import Project, query
from tests.acceptance.survival import ENVIRONMENT
from tests.acceptance.test_move_killed import in_thread

pytestmark = pytest.mark.services

MODELS = {"production": "people", "testing": "parts"}
"""What is read of each group's customers; they have the same names in both."""
NAMES = tuple(f"c{n}" for n in range(1, 13))
DATA_SOURCES = ("one", "two", "three", "lite_one", "lite_two")
RECORDS = 20
MOVES, KILLS = 6, 12
"""As many of each, at least."""
LIMIT_S = 60.0
SERVED = "the API is served"
WEB = ("web-1", "web-2")
KILLED = ("web-1", "fetch-1", "merge-1", "web-2", "scheduler", "fetch-2", "merge-2")

TABLE = """
CREATE TABLE {model} (tenant text, id integer, name text, updated_at timestamptz NOT NULL DEFAULT now(),
                      PRIMARY KEY (tenant, id));
CREATE INDEX ON {model} (updated_at, tenant, id);
"""


def place_of(group: str, name: str) -> str:
    """Namesakes are in different ones."""
    return DATA_SOURCES[(int(name[1:]) + (group == "testing")) % len(DATA_SOURCES)]


@dataclass
class Town:
    """The customers, their markers, and the project."""

    project: Project
    source_url: str
    markers: Markers
    customers: dict[Customer, str] = field(default_factory=dict)
    """The marker of each."""
    tokens: dict[Customer, str] = field(default_factory=dict)
    staff: dict[str, str] = field(default_factory=dict)


def definitions() -> dict[str, dict[str, Any]]:
    groups = list(MODELS)
    made: dict[str, dict[str, Any]] = {"schemas/shop": {"name": "Shop"}}
    for name in DATA_SOURCES:
        place = (
            {"type": "sqlite", "url": f"sqlite:///${{STORES}}/{name}.db"}
            if name.startswith("lite")
            else {"type": "postgres", "url": "${STORE_URL}", "namespace": name}
        )
        body = {"nickname": name, "schema": "shop", "visibility_groups": groups, **place}
        made[f"data_sources/{name}"] = body
    for group, model in MODELS.items():
        made[f"visibility_groups/{group}"] = {"name": group}
        made[f"apps/{group}"] = {
            "name": group,
            "type": "postgres",
            "url": "${SOURCE_URL}",
            "visibility_group": group,
        }
        made[f"models/{model}"] = {"name": model, "schema": "shop"}
        made[f"sources/{model}"] = {
            "name": model,
            "model": model,
            "primary": True,
            "app": group,
            "table": model,
            "key": ["tenant", "id"],
            "customer": {"column": "tenant"},
            "unknown_customers": "hold",
            "schedule": {"every": "1s", "cursor": "updated_at", "clock": "database"},
            "properties": {
                "tenant": {"type": "string", "column": "tenant"},
                "id": {"type": "integer", "column": "id"},
                "name": {"type": "string", "column": "name"},
            },
        }
    return made


@pytest.fixture
def town(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Town]:
    markers = Markers()
    with new_database() as first, new_database() as second, new_database() as third:
        source, store, control = (
            with_user(url, "postgres", markers.make("a password")) for url in (first, second, third)
        )
        passphrase = markers.make("the passphrase that seals secrets")
        project = Project.create(
            tmp_path / "project",
            definitions(),
            ENVIRONMENT
            | {
                "SOURCE_URL": source,
                "STORE_URL": store,
                "STORES": str(tmp_path),
                "HEADRACE_CONTROL_URL": control,
                "HEADRACE_BROKER_URL": f"{redis_server.rstrip('/')}/{random.randrange(1, 16)}",
                "HEADRACE_QUEUE_NAMESPACE": f"headrace_test_{uuid.uuid4().hex[:12]}",
                "HEADRACE_SECRET_KEYS": passphrase,
                "HEADRACE_HTTP_PORT": "0",
                "HEADRACE_HTTP_RATE": "0",
            },
            warm=True,
        )
        town = Town(project, source, markers)
        with psycopg.connect(source) as connection:
            for group, model in MODELS.items():
                connection.execute(TABLE.format(model=model).encode())
                for name in NAMES:
                    mark = town.markers.make("a record", of=(group, name))
                    town.customers[group, name] = mark
                    rows = f"SELECT '{name}', n, '{mark} ' || n FROM generate_series(1, {RECORDS}) n"
                    connection.execute(f"INSERT INTO {model} (tenant, id, name) {rows}".encode())
        yield town


@dataclass
class Api:
    """The API of two processes, one of which may just have been killed."""

    project: Project
    fleet: Fleet
    client: httpx.Client

    def start(self, name: str) -> None:
        # Without a port of their own for metrics, which then are where the API is and are searched too.
        environment = {k: v for k, v in self.project.environment.items() if k != "HEADRACE_METRICS_PORT"}
        project = replace(self.project, environment=environment)
        self.fleet.running[name] = project.start("headrace.cli.main", "web", name=name)

    def is_up(self) -> bool:
        return all(self.url(name) for name in WEB)

    def url(self, name: str) -> str | None:
        """Where the process that runs now listens, if it does yet: each one that starts says where."""
        lines = list(map(_as_json, self.fleet.running[name].log.read_text(errors="replace").splitlines()))
        events = [line for line in lines if line.get("event") in {"process started", SERVED}]
        port = events[-1].get("port") if events and events[-1]["event"] == SERVED else None
        return None if port is None else f"http://127.0.0.1:{port}"


def _as_json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass
class Asking:
    """Asks either process, and searches whatever is answered."""

    town: Town
    api: Api
    rng: random.Random
    answers: Counter[int | str] = field(default_factory=Counter)

    def ask(
        self, asker: Asker, method: str, path: str, about: Customer | None = None, **more: Any
    ) -> httpx.Response | None:
        """None: a process was away."""
        url = self.api.url(self.rng.choice(WEB))
        if url is None:
            return None
        headers = {"Authorization": f"Bearer {asker.token}"}
        try:
            answer = self.api.client.request(method, url + path, headers=headers, **more)
        except httpx.TransportError:
            self.answers["away"] += 1
            return None
        self.answers[answer.status_code] += 1
        assert answer.status_code != 500, answer.text
        head = b"".join(b"%s: %s\n" % pair for pair in answer.headers.raw)
        foreign = self.town.markers.foreign(head + answer.content, asker, about)
        assert foreign == [], (asker.name, method, path, answer.text)
        return answer


@dataclass
class Reader(Asking):
    """Everybody reads: all its records of its model, and none of the other's."""

    whole: int = 0

    def read(self) -> None:
        group, name = self.rng.choice(list(self.town.customers))
        asker = Asker(f"{group}/{name}", self.town.tokens[group, name], customer=(group, name))
        answer = self.ask(asker, "GET", f"/embed/v1/records/{MODELS[group]}?limit=100")
        if answer is not None and answer.status_code == 200:
            items = answer.json()["items"]
            assert [item["id"] for item in items] == list(range(1, RECORDS + 1)), (group, name, items)
            assert all(item["name"].startswith(self.town.customers[group, name]) for item in items)
            self.whole += 1
        (other,) = set(MODELS.values()) - {MODELS[group]}
        answer = self.ask(asker, "GET", f"/embed/v1/records/{other}")
        assert answer is None or answer.status_code == 503 or answer.json()["items"] == []
        self._as_staff((group, name))

    def _as_staff(self, who: Customer) -> None:
        group = self.rng.choice(list(MODELS))
        staff = Asker(f"staff of {group}", self.town.staff[group], group)
        model, data_source = self.rng.choice(list(MODELS.values())), self.rng.choice(DATA_SOURCES)
        rows = f"/api/v1/data-sources/{data_source}/tables/{model}/rows"
        for path, about in (
            (f"/api/v1/records/{MODELS[who[0]]}?customer=provided:{who[1]}", (group, who[1])),
            (f"{rows}?customer=provided:{who[1]}", (group, who[1])),
            (rows, None),
            ("/metrics", None),
        ):
            self.ask(staff, "GET", path, about)


@dataclass
class Mover(Asking):
    """Customers move to wherever they may, a few at a time."""

    begun: Counter[Customer] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def move(self) -> None:
        group, name = self.rng.choice(list(self.town.customers))
        staff = Asker(f"staff of {group}", self.town.staff[group], group)
        body = {"schema": "shop", "to": self.rng.choice(DATA_SOURCES)}
        answer = self.ask(staff, "POST", f"/api/v1/customers/provided:{name}/move", json=body)
        if answer is not None and answer.status_code == 202:
            self.begun[group, name] += 1
        elif answer is not None:
            self.refused[answer.json()["code"]] += 1
        time.sleep(0.3)


def change(rng: random.Random, connection: psycopg.Connection[Any]) -> None:
    model, name = rng.choice(list(MODELS.values())), rng.choice(NAMES)
    connection.execute(
        f"UPDATE {model} SET updated_at = now() WHERE tenant = %s AND id <= 3".encode(), [name]
    )
    time.sleep(0.3)


def apply(town: Town) -> None:
    town.project.headrace("apply")
    for group in MODELS:
        made = town.project.headrace("tokens", "create", "test", "--group", group, "--write")
        town.staff[group] = made.strip().splitlines()[-1]
        town.markers.secrets[town.staff[group].split("_", 2)[2]] = f"the API token of {group}"


def create(town: Town, asking: Asking) -> None:
    """Each customer is in its place, and has a token for the whole test."""
    for group, name in town.customers:
        staff = Asker(f"staff of {group}", town.staff[group], group)
        body = {"provided_id": name, "data_source_id": place_of(group, name)}
        made = asking.ask(staff, "POST", "/api/v1/customers", json=body)
        assert made is not None
        town.tokens[group, name] = made.json()["token"]
    for token in town.tokens.values():
        town.markers.secrets[token] = "a customer's token"


def moved(project: Project) -> int:
    return int(project.control("SELECT count(*) FROM move WHERE state = 'moved'")[0][0])


@contextmanager
def processes(project: Project) -> Iterator[Api]:
    """Those of the API; the others start later. None is left afterwards."""
    fleet = Fleet(project)
    with httpx.Client(timeout=10) as client:
        api = Api(project, fleet, client)
        try:
            for name in WEB:
                api.start(name)
            wait_for(api.is_up, fleet)
            yield api
        finally:
            for process in fleet.running.values():
                process.discard()


def kill_in_turn(api: Api) -> int:
    """Again and again another process dies, and is there again, until enough customers have moved."""
    until, killed = time.monotonic() + LIMIT_S, 0
    while killed < KILLS or moved(api.project) < MOVES:
        assert time.monotonic() < until, f"{moved(api.project)} moves\n{api.fleet.tails()}"
        name = KILLED[killed % len(KILLED)]
        process = api.fleet.running[name]
        if name in WEB:
            wait_for(api.is_up, api.fleet)
        process.kill()
        (api.start if name in WEB else api.fleet.start)(name)
        killed += 1
        time.sleep(1.0)
    return killed


def test_whoever_moves_and_whatever_dies_each_finds_its_own(town: Town) -> None:
    project = town.project
    apply(town)
    with processes(project) as api, psycopg.connect(town.source_url, autocommit=True) as source:
        create(town, Asking(town, api, random.Random(0)))
        project.headrace("sync")
        for name in MODULES:
            api.fleet.start(name)
        readers = [Reader(town, api, random.Random(n)) for n in (1, 2)]
        mover, rng, stopping = Mover(town, api, random.Random(3)), random.Random(4), threading.Event()
        with ExitStack() as busy:
            for work in (*(reader.read for reader in readers), mover.move, lambda: change(rng, source)):
                busy.enter_context(in_thread(work, stopping))
            killed = kill_in_turn(api)
        wait_for(lambda: project.control("SELECT 1 FROM move WHERE state = 'reading'") == [], api.fleet)
        project.headrace("sync")
        wait_for(api.is_up, api.fleet)
        _all_is_in_place(town, api)
    answers = dict(sum((reader.answers for reader in readers), Counter()))
    print(f"\n{killed} kills, {moved(project)} moves, answers {answers}; moves refused {dict(mover.refused)}")
    assert all(reader.whole > 20 for reader in readers)
    for log in project.root.glob("*.log"):
        assert town.markers.foreign(log.read_bytes(), Asker("whoever reads logs")) == [], log.name


def _all_is_in_place(town: Town, api: Api) -> None:
    """Each customer reads all its records, and no data source has anybody's who is not there."""
    last = Reader(town, api, random.Random(5))
    for group, name in town.customers:
        asker = Asker(name, town.tokens[group, name], customer=(group, name))
        answer = last.ask(asker, "GET", f"/embed/v1/records/{MODELS[group]}?limit=100")
        assert answer is not None
        assert len(answer.json()["items"]) == RECORDS
    homes = {
        (group, name): place
        for group, name, place in town.project.control(
            "SELECT c.visibility_group, c.provided_id, r.data_source_id"
            " FROM residence r JOIN customer c ON c.id = r.customer_id"
        )
    }
    for data_source in DATA_SOURCES:
        for group, model in MODELS.items():
            url, table = town.project.environment["STORE_URL"], f"{data_source}.{model}"
            if data_source.startswith("lite"):
                url, table = f"sqlite:///{town.project.environment['STORES']}/{data_source}.db", model
            stored = {name for (name,) in query(url, f"SELECT DISTINCT _customer_id FROM {table}")}
            assert stored == {name for (g, name), home in homes.items() if (g, home) == (group, data_source)}


def wait_for(answer: Any, fleet: Fleet) -> None:
    until = time.monotonic() + LIMIT_S
    while not answer():
        assert time.monotonic() < until, f"it never came\n{fleet.tails()}"
        time.sleep(0.1)
