"""Says what a source lacks, and which existing name was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from headrace.errors import ErrorCode, SourceDriftError, SourceUnavailableError
from headrace.ports import ReadPlan, Relation, TableFacts


def nearest(name: str, existing: Iterable[str]) -> str:
    """ "; the nearest existing name is …", or nothing when none is near."""
    close = difflib.get_close_matches(name, list(existing), n=1, cutoff=0.5)
    return f'; the nearest existing name is "{close[0]}"' if close else ""


def missing_table(app_id: str, table: str, existing: Iterable[str], *, unless: str = "") -> SourceDriftError:
    """
    Args:
        unless: why it may exist all the same.
    """
    names = list(existing)
    meant = nearest(table, names)
    if not meant and "." not in table:  # the namespace that is not said makes all names look far
        bare = {name.rpartition(".")[2]: name for name in reversed(names)}
        close = difflib.get_close_matches(table, bare, n=1, cutoff=0.5)
        meant = f'; the nearest existing name is "{bare[close[0]]}"' if close else ""
    why = f'{app_id}: table "{table}" does not exist{meant}{unless}'
    return SourceDriftError(why, code=ErrorCode.TABLE_MISSING)


def require_columns(app_id: str, plan: ReadPlan, facts: TableFacts) -> None:
    """Every column that the plan reads exists, or SourceDriftError names each that does not."""
    existing = [c.name for c in facts.columns]
    wanted = (*plan.columns, *plan.key, *((plan.cursor,) if plan.cursor else ()))
    missing = [name for name in dict.fromkeys(wanted) if name not in existing]
    if missing:
        faults = ", ".join(f'"{name}" does not exist{nearest(name, existing)}' for name in missing)
        where = relation_name(plan.relation)
        raise SourceDriftError(f"{app_id}: in {where} column {faults}", code=ErrorCode.COLUMN_MISSING)


def relation_name(relation: Relation) -> str:
    return f'table "{relation.table}"' if relation.table else "the query"


def query_text(query: str) -> str:
    """The SELECT without its closing semicolon, ready to stand in parentheses on lines of its own."""
    return query.strip().rstrip(";").rstrip()


def altered(app_id: str, relation: Relation) -> SourceUnavailableError:
    """The relation is not as it was described: whoever asks again describes it anew."""
    return SourceUnavailableError(
        f"{app_id}: {relation_name(relation)} was altered right before it was read; "
        "it is described and read again"
    )
