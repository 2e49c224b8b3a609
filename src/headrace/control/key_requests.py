"""Rows that a feed is asked to fetch by key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa

from headrace.control.engine import insert_in
from headrace.control.slices import slices
from headrace.control.tables import feed, key_request
from headrace.control.types import now
from headrace.domain.vocabulary import FeedId

_SET_AGAIN = (
    sa.update(feed).where(feed.c.id == sa.bindparam("of_feed")).values(again=True).returning(feed.c.epoch)
)
_FORGET_KEYS = sa.delete(key_request).where(
    key_request.c.feed_id == sa.bindparam("of_feed"),
    key_request.c.key.in_(sa.bindparam("keys", expanding=True)),
)


@cache
def _request_keys(dialect: str) -> sa.Executable:
    return insert_in(dialect, key_request).values(asked_at=now()).on_conflict_do_nothing()


def add_key_requests(connection: sa.Connection, feed_id: FeedId, keys: Sequence[tuple[str, ...]]) -> None:
    """Ask the feed for the keys (texts in the order of the source's `key`) and set its `again`."""
    wanted = list(dict.fromkeys(_key_text(key) for key in keys))
    if not wanted:
        return
    set_again(connection, feed_id)
    for some in slices(wanted):
        connection.execute(_FORGET_KEYS, {"of_feed": feed_id, "keys": some})
    requests = [{"feed_id": feed_id, "key": key} for key in wanted]
    connection.execute(_request_keys(connection.dialect.name), requests)


def _key_text(key: Sequence[str]) -> str:
    """A key as requests for it are compared: in one spelling, a JSON array of texts."""
    return json.dumps(list(key), ensure_ascii=False, separators=(",", ":"))


def set_again(connection: sa.Connection, feed_id: FeedId) -> int:
    """Lock the feed, ask for one more poll; its epoch."""
    return int(connection.execute(_SET_AGAIN, {"of_feed": feed_id}).scalar_one())
