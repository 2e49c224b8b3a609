"""Every operation of the API, asked about whatever there is: of its own and of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.domain.webhook_signature import key_of, signed_headers
from tests.acceptance.isolation.estate import GROUPS, HOOK_SECRET, RECORDS, SERVED, Estate
from tests.acceptance.isolation.markers import Customer

STAFF, EMBED = "/api/v1", "/embed/v1"
SCHEMA = "shop"


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `about`: the one customer of whom it is."""

    path: str
    params: dict[str, Any] | None = None
    json: Any = None
    about: Customer | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Targets:
    """What is asked about.

    Attributes:
        customers: all, for what only reads.
        victims: of each group one, whom everything may be done to; and the group's signing keys and moves.
    """

    estate: Estate
    customers: list[Customer]
    victims: dict[str, Customer]
    kids: dict[str, str] = field(default_factory=dict)
    moves: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    """Data sources that the API made, by group."""

    def id(self, who: Customer) -> str:
        return self.estate.customers[who]


Calls = Callable[[Targets], Iterator[Call]]


def _each(path: str, json: Any = None) -> Calls:
    """Of each victim, by its id and by its name."""

    def calls(at: Targets) -> Iterator[Call]:
        for who in at.victims.values():
            for name in (at.id(who), f"provided:{who[1]}"):
                yield Call(STAFF + path.format(customer=name), json=json)

    return calls


def _customers(path: str) -> Calls:
    def calls(at: Targets) -> Iterator[Call]:
        for who in at.customers:
            yield Call(STAFF + path.format(customer=at.id(who)), about=who)

    return calls


def _data_sources(path: str, json: Any = None) -> Calls:
    def calls(at: Targets) -> Iterator[Call]:
        for name in (*SERVED, *at.added.values()):
            yield Call(STAFF + path.format(data_source=name), json=json)

    return calls


def _plain(path: str, *params: dict[str, Any]) -> Calls:
    return lambda _: iter([Call(STAFF + path, each) for each in ({}, *params)])


def _embed_list(at: Targets) -> Iterator[Call]:
    for model in (*RECORDS, "nothing"):
        yield Call(f"{EMBED}/records/{model}")
    yield Call(f"{EMBED}/records/users", {"limit": 1, "sort": "-name"})
    yield Call(f"{EMBED}/records/users", {"limit": 0})
    for group, name in at.victims.values():
        foreign = min(at.estate.markers.of((group, name)))
        params = {"filter": ["name:ne:x", f"name:in:{foreign},x"], "customer": f"provided:{name}"}
        yield Call(f"{EMBED}/records/users", params)
        yield Call(f"{EMBED}/records/users", {"filter": f"age:eq:{foreign}", "fields": "_customer_id"})


def _embed_get(_: Targets) -> Iterator[Call]:
    for key in ("a/1", "a/2", "a/9", "a", "%00", "a/x"):
        yield Call(f"{EMBED}/records/users/{key}")
    yield Call(f"{EMBED}/records/bills/a/1", {"fields": "name"})


def _staff_list(at: Targets) -> Iterator[Call]:
    for name, who in _named(at):
        yield Call(f"{STAFF}/records/users", {"customer": name, "limit": 2}, about=who)


def _staff_get(at: Targets) -> Iterator[Call]:
    for name, who in _named(at):
        yield Call(f"{STAFF}/records/users/a/2", {"customer": name}, about=who)


def _named(at: Targets) -> Iterator[tuple[str, Customer | None]]:
    """All customers by their ids, and by their `provided_id`s, which are others' in each group."""
    yield from ((at.id(who), who) for who in at.customers)
    yield from ((f"provided:{name}", None) for name in sorted({name for _, name in at.customers}))


def _rows(at: Targets) -> Iterator[Call]:
    for data_source in SERVED:
        for table in (*RECORDS, "_identity", "_moved", "staged_users", "nothing"):
            path = f"{STAFF}/data-sources/{data_source}/tables/{table}/rows"
            yield Call(path)
            for who in at.victims.values():
                yield Call(path, {"customer": at.id(who)}, about=who)
        for name in sorted({name for _, name in at.customers}):
            path = f"{STAFF}/data-sources/{data_source}/tables/users/rows"
            yield Call(path, {"customer": f"provided:{name}"})


def _explain(at: Targets) -> Iterator[Call]:
    for who in at.customers:
        for schema in (SCHEMA, "nothing"):
            yield Call(f"{STAFF}/explain-route", {"customer": at.id(who), "schema": schema}, about=who)


def _create(at: Targets) -> Iterator[Call]:
    for data_source in (*SERVED, "nothing"):
        body = {"provided_id": f"new {data_source}", "mapping": {SCHEMA: {"id": data_source}}}
        yield Call(f"{STAFF}/customers", json=body)
    for _, name in at.victims.values():
        yield Call(f"{STAFF}/customers", json={"provided_id": name, "data_source_id": "post_two"})
        yield Call(f"{STAFF}/customers", json={"provided_id": name})


def _add(at: Targets) -> Iterator[Call]:
    password = at.estate.markers.make("a password that was sent")
    for host in ("127.0.0.1", "localhost", "10.0.0.1:notaport"):
        yield Call(f"{STAFF}/data-sources", json=_new(f"postgresql://u:{password}@{host}/x", "postgres"))
    for n, _ in enumerate(GROUPS):
        file = f"{at.estate.markers.make('the path of a data source')}-{n}.db"
        yield Call(f"{STAFF}/data-sources", json=_new(f"sqlite:///{at.estate.directory}/{file}", "sqlite"))


def _new(url: str, type_: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "type": type_, "url": url, "nickname": "new"}


def _try(at: Targets) -> Iterator[Call]:
    for call in _add(at):
        yield Call(f"{STAFF}/data-sources/test", json={k: v for k, v in call.json.items() if k != "nickname"})
    # Another one's database, by its URL.
    for name in SERVED:
        url = f"sqlite:///{at.estate.directory}/{name}.db"
        yield Call(f"{STAFF}/data-sources/test", json={"schema": SCHEMA, "type": "sqlite", "url": url})


def _change(at: Targets) -> Iterator[Call]:
    for name in (*SERVED, *at.added.values()):
        yield Call(f"{STAFF}/data-sources/{name}", json={"nickname": "another"})
        url = f"postgresql://u:{at.estate.markers.make('a password that was sent')}@127.0.0.1/x"
        yield Call(f"{STAFF}/data-sources/{name}", json={"url": url})


def _delete_data_source(at: Targets) -> Iterator[Call]:
    for name in (*SERVED, *at.added.values()):
        yield Call(f"{STAFF}/data-sources/{name}")


def _default(at: Targets) -> Iterator[Call]:
    for name in (None, *SERVED, *at.added.values()):
        path, body = f"{STAFF}/schemas/{SCHEMA}/default", {"data_source_id": name}
        yield Call(path, {"preview": "true"}, json=body)
        yield Call(path, json=body)


def _move(at: Targets) -> Iterator[Call]:
    for who in at.victims.values():
        for to in SERVED:
            body = {"schema": SCHEMA, "to": to, "mode": "move"}
            yield Call(f"{STAFF}/customers/{at.id(who)}/move", json=body)


def _of_moves(at: Targets) -> Iterator[Call]:
    for move in (*at.moves.values(), "nothing"):
        yield Call(f"{STAFF}/moves/{move}")


def _revoke_key(at: Targets) -> Iterator[Call]:
    for kid in at.kids.values():
        yield Call(f"{STAFF}/signing-keys/{kid}/revoke")


def _trigger(at: Targets) -> Iterator[Call]:
    for body in (None, {"app": "production_c1"}, {"keys": [["a", "1"]]}, {"keys": [["a", "x"]]}):
        yield Call(f"{STAFF}/sources/users/trigger", json=body)


def _hook(_: Targets) -> Iterator[Call]:
    """By whoever signs well, badly, and not at all."""
    path, key = "/hooks/v1/sources/users/trigger", key_of(HOOK_SECRET)
    assert key
    for signed_by in (key, b"another secret of 24 bytes"):
        headers = signed_headers(signed_by, id_="msg_1", at_s=int(time.time()), body=b"")
        yield Call(path, headers=headers)
    yield Call(path, json={"keys": [["a", "1"]]})


def _document(path: str) -> Calls:
    return lambda _: iter([Call(path)])


READING: dict[str, Calls] = {
    "GET /healthz": _document("/healthz"),
    "GET /readyz": _document("/readyz"),
    "GET /metrics": _document("/metrics"),
    "GET /openapi.json": _document("/openapi.json"),
    f"GET {EMBED}/records/{{model}}": _embed_list,
    f"GET {EMBED}/records/{{model}}/{{key}}": _embed_get,
    f"GET {STAFF}/records/{{model}}": _staff_list,
    f"GET {STAFF}/records/{{model}}/{{key}}": _staff_get,
    f"GET {STAFF}/customers": _plain("/customers", {"limit": 2}, {"parent": "provided:c7"}),
    f"GET {STAFF}/customers/{{customer}}": _customers("/customers/{customer}"),
    f"GET {STAFF}/customers/{{customer}}/moves": _customers("/customers/{customer}/moves"),
    f"GET {STAFF}/moves/{{move_id}}": _of_moves,
    f"GET {STAFF}/data-sources": _plain("/data-sources", {"limit": 1}, {"schema": SCHEMA}),
    f"GET {STAFF}/data-sources/{{data_source}}": _data_sources("/data-sources/{data_source}"),
    f"GET {STAFF}/data-sources/{{data_source}}/impact": _data_sources("/data-sources/{data_source}/impact"),
    f"GET {STAFF}/data-sources/{{data_source}}/tables": _data_sources("/data-sources/{data_source}/tables"),
    f"GET {STAFF}/data-sources/{{data_source}}/tables/{{table}}/rows": _rows,
    f"GET {STAFF}/schemas": _plain("/schemas"),
    f"GET {STAFF}/schemas/{{schema}}": _plain(f"/schemas/{SCHEMA}"),
    f"GET {STAFF}/explain-route": _explain,
    f"GET {STAFF}/sources": _plain("/sources", {"limit": 1}),
    f"GET {STAFF}/runs": _plain("/runs", {"limit": 5}, {"source": "users"}),
    f"GET {STAFF}/signing-keys": _plain("/signing-keys"),
    f"GET {STAFF}/audit": _plain("/audit", {"limit": 1000}, {"customer": "c1", "limit": 1000}),
}
"""What changes nothing, but for the audit."""

CHANGING: dict[str, Calls] = {
    f"POST {STAFF}/customers/{{customer}}/tokens": _each("/customers/{customer}/tokens"),
    f"POST {STAFF}/customers": _create,
    f"POST {STAFF}/customers/{{customer}}/impact": _each("/customers/{customer}/impact", {"parent": None}),
    f"PATCH {STAFF}/customers/{{customer}}": _each("/customers/{customer}", {"parent": "provided:c5"}),
    f"POST {STAFF}/data-sources/test": _try,
    f"POST {STAFF}/data-sources": _add,
    f"PATCH {STAFF}/data-sources/{{data_source}}": _change,
    f"PUT {STAFF}/schemas/{{schema}}/default": _default,
    f"POST {STAFF}/sources/{{source}}/trigger": _trigger,
    "POST /hooks/v1/sources/{source}/trigger": _hook,
    f"POST {STAFF}/customers/{{customer}}/move": _move,
    f"DELETE {STAFF}/moves/{{move_id}}": _of_moves,
    f"POST {STAFF}/signing-keys/rotate": _plain("/signing-keys/rotate"),
    f"POST {STAFF}/customers/{{customer}}/tokens/revoke": _each("/customers/{customer}/tokens/revoke"),
    f"DELETE {STAFF}/data-sources/{{data_source}}": _delete_data_source,
    f"POST {STAFF}/data-sources/{{data_source}}/drain": _data_sources(
        "/data-sources/{data_source}/drain", {}
    ),
    f"POST {STAFF}/data-sources/{{data_source}}/activate": _data_sources(
        "/data-sources/{data_source}/activate"
    ),
    f"DELETE {STAFF}/customers/{{customer}}": _each("/customers/{customer}"),
    f"POST {STAFF}/signing-keys/{{kid}}/revoke": _revoke_key,
}
"""In an order in which each finds what it needs; what ends things is last."""
