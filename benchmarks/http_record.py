"""A record by its key over HTTP: the whole API beside a bare FastAPI endpoint that runs the same SQL.

The API authenticates a customer by its token, limits it, resolves its route, reads, and measures the request.
Both servers run at the same time and are asked in turn, round after round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa

from benchmarks import users
from benchmarks.database import database, run
from benchmarks.http_server import CUSTOMER
from benchmarks.outcome import Result
from benchmarks.work import Task
from headrace import settings, wiring
from headrace.control.engine import writing
from headrace.control.move_tables import residence
from headrace.control.tables import customer
from headrace.control.types import now
from headrace.definition.loader import load
from headrace.domain.record_query import record_columns
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import ModelId
from headrace.stores.postgres_sql import PostgresDialect
from headrace.stores.record_query_sql import select_one
from headrace.web.customer_token import CustomerTokens

CONNECTIONS = 16
_TYPES = {
    "id": "integer", "email": "email", "first_name": "string", "last_name": "string", "plan": "string",
    "ltv": "decimal", "is_active": "boolean", "created_at": "datetime", "updated_at": "datetime",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """What both servers work by."""

    users: int
    environment: dict[str, str]
    token: str


def http_record(task: Task) -> Iterator[Result]:
    """Requests a second, of each in turn."""
    with (
        _site(task.extent.count) as site,
        _server("bare", site) as bare,
        _server("headrace", site) as headrace,
    ):
        peers = (
            ("bare endpoint", bare, "/records/users"),
            ("headrace", headrace, "/embed/v1/records/users"),
        )
        for _, port, path in peers:
            _ask(port, path, site, task.extent.seconds / 2)
        for number in task.rounds:
            for peer, port, path in peers:
                answered, took_s = _ask(port, path, site, task.extent.seconds)
                figures = {"requests_per_s": answered / took_s}
                yield Result(peer=peer, round=number, figures=figures, equal=answered > 0)


def _ask(port: int, path: str, site: Site, seconds: float) -> tuple[int, float]:
    command = [sys.executable, "-m", "benchmarks.http_load", str(port), path]
    command += [str(CONNECTIONS), str(seconds), str(site.users)]
    environment = {**os.environ, "HTTP_TOKEN": site.token}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    answered, took = done.stdout.split()
    return int(answered), float(took)


@contextmanager
def _server(kind: str, site: Site) -> Iterator[int]:
    """The port of a server that runs until the block ends."""
    command = [sys.executable, "-m", "benchmarks.http_server", kind]
    environment = {**os.environ, **site.environment}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def _site(count: int) -> Iterator[Site]:
    with database("http") as url, tempfile.TemporaryDirectory() as name, database("app") as app_url:
        directory = Path(name)
        environment = {"BENCH_STORE_URL": url, "BENCH_APP_URL": app_url}
        run(app_url, users.TABLE)
        for file, body in _definitions().items():
            place = directory / "config" / f"{file}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(body))
        chosen = {
            "HEADRACE_CONTROL_URL": f"sqlite:///{directory / 'control.db'}",
            "HEADRACE_SECRET_KEYS": "a passphrase of this benchmark",
            "HEADRACE_HTTP_RATE": "1000000",
            "HEADRACE_HTTP_BURST": "1000000",
            "HEADRACE_LOG_LEVEL": "warning",
        }
        with (
            mock.patch.dict(os.environ, environment | chosen),
            wiring.build(settings.load(), process="web") as application,
        ):
            report = application.apply(load(directory / "config", os.environ))
            assert not report.failed, report
            run(url, *_fill(count))
            model = application.catalogue().model(ModelId("users"))
            yield Site(count, environment | chosen | _bare(url, model), _token(application))


def _definitions() -> dict[str, Any]:
    properties = {name: {"type": type_, "column": name} for name, type_ in _TYPES.items()}
    return {
        "apps/app": {"name": "App", "type": "postgres", "url": "${BENCH_APP_URL}"},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main", "schema": "shop", "default_for": ["all"], "type": "postgres",
            "url": "${BENCH_STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": {
            "name": "Users", "model": "users", "primary": True, "app": "app", "table": "users", "key": ["id"],
            "schedule": {"cursor": "updated_at", "clock": "database"}, "properties": properties,
        },
    }  # fmt: skip


def _fill(count: int) -> Iterator[str]:
    names = ", ".join(_TYPES)
    yield users.TABLE
    yield users.fill(count)
    yield f"INSERT INTO headrace.users (_customer_id, {names}) SELECT '{CUSTOMER}', {names} FROM users"
    yield "VACUUM ANALYZE headrace.users"


def _bare(url: str, model: ModelShape) -> dict[str, str]:
    columns = tuple(record_columns(model).values())
    sql = select_one(PostgresDialect("headrace"), model, columns)
    statement = json.dumps({"sql": sql, "names": [column.name for column in columns]})
    return {"BARE_URL": url, "BARE_STATEMENT": statement}


def _token(application: wiring.Application) -> str:
    row = {"id": "c-acme", "provided_id": CUSTOMER, "name": CUSTOMER, "visibility_group": "all"}
    with writing(application.engine) as connection:
        values = {**row, "properties": {}, "origin": "api"}
        connection.execute(sa.insert(customer).values(made_at=now(), **values))
        home = {"customer_id": "c-acme", "schema": "shop", "data_source_id": "main", "provided_id": CUSTOMER}
        connection.execute(sa.insert(residence).values(home))
    tokens = CustomerTokens(
        workspace=application.workspace, keys=application.signing_keys, subjects=application.token_subjects
    )
    subject = application.token_subjects.current("c-acme")
    assert subject is not None
    return tokens.mint(subject, ttl_s=3600).text
