"""Which keys can be values of the key's columns at all: the others are in no row."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors, sql

from headrace.ports import ReadPlan
from headrace.sources.postgres_catalogue import PostgresRelation
from headrace.sources.postgres_select import cast_texts

Connection = psycopg.Connection[tuple[Any, ...]]
Keys = tuple[tuple[str, ...], ...]


def castable_keys(connection: Connection, relation: PostgresRelation, plan: ReadPlan, keys: Keys) -> Keys:
    """The keys whose every part the source can cast to its column's type, found by halving on errors."""
    candidates = tuple(key for key in keys if not any("\0" in part for part in key))
    if not candidates or _casts(connection, relation, plan, candidates):
        return candidates
    if len(candidates) == 1:
        return ()
    middle = len(candidates) // 2
    return castable_keys(connection, relation, plan, candidates[:middle]) + castable_keys(
        connection, relation, plan, candidates[middle:]
    )


def _casts(connection: Connection, relation: PostgresRelation, plan: ReadPlan, keys: Keys) -> bool:
    arrays = [
        cast_texts([key[at] for key in keys], relation.column(name), zone=plan.time_zone)
        for at, name in enumerate(plan.key)
    ]
    try:
        connection.execute(sql.SQL("SELECT 1 WHERE ({}) IS NULL").format(sql.SQL(", ").join(arrays)))
    except errors.DataError:
        return False
    return True
