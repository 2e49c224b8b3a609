"""Whether a source still fits the definitions that were applied to it: only what the feed uses counts."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.domain.native_type import is_widened
from headrace.domain.vocabulary import TEXT_TYPES
from headrace.errors import SourceDriftError
from headrace.ports import ColumnFacts, FeedPlan, TableFacts


def used_columns(plan: FeedPlan, facts: TableFacts) -> tuple[ColumnFacts, ...]:
    """What the catalogue says of the columns that the feed reads, in the order of its plan."""
    found = (facts.column(name) for name in plan.read.columns)
    return tuple(column for column in found if column is not None)


def fitting(plan: FeedPlan, facts: TableFacts) -> tuple[str, ...]:
    """The source fits; what has changed in it and changes no value's meaning, in words.

    Raises:
        SourceDriftError: it does not; everything that is wrong, with what was and what is.
    """
    wrong = [*_missing(plan, facts), *_other_types(plan, facts), *_lost_keys(plan, facts)]
    if wrong:
        where = f'table "{plan.read.relation.table}"' if plan.read.relation.table else "the query"
        raise SourceDriftError(f"{plan.app_id}: in {where} {', and '.join(wrong)}")
    return tuple(
        f"column {now.name} is {now.native_type} now, which holds all that {old.native_type} did"
        for old, now in _changed(plan, facts)
    )


def means_the_same(plan: FeedPlan, old: ColumnFacts, new: ColumnFacts) -> bool:
    """Every value of the old column is one of the new column, and its properties are the same."""
    as_text = any(c.source_column == old.name and c.type in TEXT_TYPES for c in plan.source.columns)
    return is_widened(old.native_type, new.native_type, as_text=as_text)


def _missing(plan: FeedPlan, facts: TableFacts) -> Iterator[str]:
    for name in plan.read.columns:
        if facts.column(name) is None:
            yield f'column "{name}" is gone'


def _changed(plan: FeedPlan, facts: TableFacts) -> Iterator[tuple[ColumnFacts, ColumnFacts]]:
    for old in plan.expected:
        now = facts.column(old.name)
        if now is not None and now.native_type != old.native_type:
            yield old, now


def _other_types(plan: FeedPlan, facts: TableFacts) -> Iterator[str]:
    for old, now in _changed(plan, facts):
        if not means_the_same(plan, old, now):
            yield (
                f'column "{now.name}" is {now.native_type or "without a type"}, and was '
                f"{old.native_type or 'without a type'} when the definitions were applied"
            )


def _lost_keys(plan: FeedPlan, facts: TableFacts) -> Iterator[str]:
    key = plan.read.key
    if any(facts.column(name) is None for name in key):
        return
    names = ", ".join(key)
    if plan.key_is_unique and not facts.identifies(key):
        yield f"the key ({names}) was unique and not null, and nothing sees to that any more"
    elif plan.chunkable and plan.expected:
        for column in used_columns(plan, facts):
            if column.name in key and not column.portable_order:
                yield f"the key's column \"{column.name}\" is no longer in the order of the data sources'"
