"""What a source reads, checked offline: one table, or one query that is one SELECT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.errors import Fault


def relation_faults(file: str, body: Mapping[str, Any], dialect: str | None) -> Iterator[Fault]:
    """Faults of app or apps, and of table or query, of a source's body as written.

    `dialect` is that of the app's database, None when it is not known.
    """
    yield from _exactly_one(file, body, "app", "apps")
    yield from _exactly_one(file, body, "table", "query")
    query = body.get("query")
    if isinstance(query, str) and query.strip():
        wrong = query_fault(query, dialect)
        if wrong:
            yield Fault(file, "query", wrong)


def _exactly_one(file: str, body: Mapping[str, Any], one: str, other: str) -> Iterator[Fault]:
    both = body.get(one) is not None and body.get(other) is not None
    none = body.get(one) is None and body.get(other) is None
    if both:
        yield Fault(file, other, f"has both {one} and {other}; keep one")
    if none:
        yield Fault(file, one, f"is missing; give {one} or {other}")


def query_text(query: str) -> str:
    """The query without semicolons at its end: it is read as part of a greater one."""
    return query.strip().rstrip(";").rstrip()


def query_fault(query: str, dialect: str | None) -> str | None:
    """Why a query is not one SELECT that only reads, or None."""
    # Slow to import: only for definitions that have a query.
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    try:
        statements = [s for s in parse(query_text(query), read=dialect) if s is not None]
    except SqlglotError as error:
        return f"cannot be read as SQL ({_first_line(error)}); write one SELECT"
    if len(statements) != 1:
        return f"holds {len(statements)} statements; write one SELECT"
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        return f"is no SELECT but {statement.key.upper()}; write one SELECT"
    writing = next(statement.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into), None)
    if writing is not None:
        return f"writes ({writing.key.upper()}); a source only reads: write one SELECT"
    if statement.find(exp.Lock):
        return "locks rows (FOR UPDATE or FOR SHARE); a source only reads: remove the lock"
    return None


def _first_line(error: Exception) -> str:
    details = getattr(error, "errors", None) or [{}]
    place = details[0]
    if "line" in place:
        reason = str(place["description"]).partition(" but got")[0]
        return f"line {place['line']}, column {place['col']}: {reason.rstrip('.')}"
    return str(error).splitlines()[0]
