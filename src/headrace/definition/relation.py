"""What a source reads, checked offline: one table, one query that is one SELECT, or a path of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

from headrace.definition.models import AppType
from headrace.definition.values import check_identifier
from headrace.errors import Fault

_PATH: Final = "name a path below it: a file, a directory or a pattern"
_FILES_HAVE_NO_QUERY: Final = (
    "cannot be asked of files; give a table instead: the path of a file, a directory or a pattern"
)


def relation_faults(file: str, body: Mapping[str, Any], app_type: AppType | None) -> Iterator[Fault]:
    """Faults of app or apps, and of table or query, of a source's body as written.

    `app_type` is None when it is not known.
    """
    yield from _exactly_one(file, body, "app", "apps")
    yield from _exactly_one(file, body, "table", "query")
    table, query = body.get("table"), body.get("query")
    if isinstance(table, str) and table.isprintable() and table.strip():
        wrong = path_fault(table) if app_type is AppType.FILES else table_fault(table)
        if wrong:
            yield Fault(file, "table", wrong)
    if isinstance(query, str) and query.strip():
        wrong = _FILES_HAVE_NO_QUERY if app_type is AppType.FILES else query_fault(query, app_type)
        if wrong:
            yield Fault(file, "query", wrong)


def _exactly_one(file: str, body: Mapping[str, Any], one: str, other: str) -> Iterator[Fault]:
    both = body.get(one) is not None and body.get(other) is not None
    none = body.get(one) is None and body.get(other) is None
    if both:
        yield Fault(file, other, f"has both {one} and {other}; keep one")
    if none:
        yield Fault(file, one, f"is missing; give {one} or {other}")


def table_fault(table: str) -> str | None:
    """Why a text is no table of a database, or None."""
    parts = table.split(".")
    if len(parts) > 2 or not all(part.strip() for part in parts):
        return 'is no table; write "name" or "namespace.name" (for any other name use a query)'
    try:
        for part in parts:
            check_identifier(part)
    except PydanticCustomError as error:
        return error.message()
    return None


def path_fault(table: str) -> str | None:
    """Why a text is no path below the directory of an app of files, or None."""
    if table.startswith("/") or ".." in table.split("/"):
        return f'leads out of the app\'s directory; {_PATH}, such as "users.csv" or "events/*.parquet"'
    if "\\" in table:
        return 'has a backslash; part directories by "/"'
    return None


def query_text(query: str) -> str:
    """The query without semicolons at its end: it is read as part of a greater one."""
    return query.strip().rstrip(";").rstrip()


def query_fault(query: str, app_type: AppType | None) -> str | None:
    """Why a query is not one SELECT that only reads, or None."""
    # Slow to import: only for definitions that have a query.
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    try:
        statements = [s for s in parse(query_text(query), read=app_type) if s is not None]
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
