"""An API over customers whose records are in SQLite and PostgreSQL data sources."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from headrace.control.engine import insert_or, writing
from headrace.control.move_tables import residence
from headrace.control.tables import binding, customer
from headrace.definition.loader import load
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.ports import FeedScope
from tests.conformance.store_rows import batch, scope
from tests.integration.web_site import Site, site_of

TYPES = {"org": "string", "id": "integer", "name": "string", "total": "decimal"}


def definitions(stores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Two models of one schema; the first data source is the default."""
    made: dict[str, Any] = {
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "visibility_groups/testing": {"name": "Testing"},
        "apps/app": {
            "name": "App",
            "type": "sqlite",
            "url": "sqlite:///${SITE}/app.db",
            "visibility_group": "production",
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "app",
            "table": "users",
            "key": ["org", "id"],
            "schedule": {"cursor": "updated_at", "clock": "database"},
            "properties": {name: {"type": type_, "column": name} for name, type_ in TYPES.items()},
        },
    }
    for place, (name, body) in enumerate(stores.items()):
        default = {"default_for": ["production", "testing"]} if place == 0 else {}
        groups = {"visibility_groups": ["production", "testing"]}
        made[f"data_sources/{name}"] = {"nickname": name, "schema": "shop", **groups, **default, **body}
    return made


def sqlite_store(name: str) -> dict[str, Any]:
    return {"type": "sqlite", "url": f"sqlite:///${{SITE}}/{name}.db"}


@contextmanager
def records_site(
    directory: Path, environ: dict[str, str], stores: dict[str, dict[str, Any]], **changes: Any
) -> Iterator[Site]:
    """`stores`: data sources by id, type and URLs in which ${SITE} is the directory."""
    with closing(sqlite3.connect(directory / "app.db")) as source:
        source.execute(
            "CREATE TABLE users (org text, id integer, name text, total text, updated_at text,"
            " PRIMARY KEY (org, id))"
        )
    for name, body in definitions(stores).items():
        file = directory / "config" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    with site_of(directory, config_dir=directory / "config", **changes) as site:
        report = site.application.apply(load(directory / "config", environ))
        assert not report.failed, report
        yield site


def shape(site: Site) -> ModelShape:
    return site.application.catalogue().model(ModelId("users"))


def put(
    site: Site, data_source: str, customer: str, *rows: dict[str, Any], group: str = "production"
) -> None:
    """Records of a customer, merged as a feed's would be; it resides where its first ones were put."""
    _settle(site, data_source, customer, group)
    model = shape(site)
    with site.application.stores.open(DataSourceId(data_source)).merging(model) as merge:
        assert merge is not None
        of = FeedScope(
            feed_id=scope(model.primary).feed_id,
            app_id=scope(model.primary).app_id,
            source=model.primary,
            customer=customer,
        )
        merge.apply_rows(of, batch(model.primary, [{"org": "a", **row} for row in rows], customer))
        merge.recompute()


def _settle(site: Site, data_source: str, provided_id: str, group: str) -> None:
    with writing(site.application.engine) as connection:
        of_group = sa.and_(customer.c.provided_id == provided_id, customer.c.visibility_group == group)
        home = sa.select(
            customer.c.id, sa.literal("shop"), sa.literal(data_source), customer.c.provided_id
        ).where(of_group)
        columns = ["customer_id", "schema", "data_source_id", "provided_id"]
        insert = insert_or(connection, residence).from_select(columns, home)
        connection.execute(insert.on_conflict_do_nothing())


def bind(site: Site, customer_id: str, data_source: str) -> None:
    with writing(site.application.engine) as connection:
        connection.execute(
            sa.insert(binding).values(
                customer_id=customer_id, schema="shop", data_source_id=data_source, origin="explicit"
            )
        )
        connection.execute(sa.text("UPDATE routing_version SET version = version + 1"))
    site.application.route_cache.invalidate()
