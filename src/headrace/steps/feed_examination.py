"""How each feed's source suits it: asked of the sources right now, each app in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from headrace.errors import HeadraceError, SourceUnavailableError
from headrace.ports import Clock, Examination, FeedPlan, Readers, SourceReader
from headrace.steps.promises import FeedPromise, promise_of, unasked

ANSWER_WITHIN_S: Final = 2.0
"""For each question: a database is not to suffer from being examined."""
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedFeed:
    """A feed, what it can promise, and what its source says of it.

    Attributes:
        newest_is_ahead: the newest cursor is beyond the source's clock.
    """

    plan: FeedPlan
    promise: FeedPromise
    examination: Examination = field(default_factory=Examination)
    newest_is_ahead: bool = False


def examined(readers: Readers, plans: Iterable[FeedPlan], clock: Clock) -> tuple[ExaminedFeed, ...]:
    """Every feed, in order of source and app. An app that is away is waited for once, and by nobody else."""
    ordered = sorted(plans, key=lambda plan: (plan.app_id, plan.source.id))
    apps = [tuple(group) for _, group in groupby(ordered, key=lambda plan: plan.app_id)]
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="examine") as pool:
        found = pool.map(lambda feeds: tuple(_of_app(readers, feeds, clock)), apps)
        feeds = [feed for of_app in found for feed in of_app]
    return tuple(sorted(feeds, key=lambda feed: (feed.plan.source.id, feed.plan.app_id)))


def _of_app(readers: Readers, plans: Sequence[FeedPlan], clock: Clock) -> Iterator[ExaminedFeed]:
    told: list[str] = []
    for plan in plans:
        if len(told) > 1 and told[-1] == told[-2]:  # the app does not answer, whatever is read of it
            yield ExaminedFeed(plan=plan, promise=unasked(plan, SourceUnavailableError(told[-1])))
            continue
        try:
            with readers.lend(plan.app_id) as reader:
                feed = _examined(reader, plan, clock)
        except HeadraceError as error:
            feed = ExaminedFeed(plan=plan, promise=unasked(plan, error))
        told.append(feed.promise.reason if feed.promise.away else f"answered {len(told)}")
        yield feed


def _examined(reader: SourceReader, plan: FeedPlan, clock: Clock) -> ExaminedFeed:
    # The clock is asked after the newest row was: else what is written meanwhile would be ahead of it.
    found = reader.examine(plan.read, limit_s=ANSWER_WITHIN_S)
    promise, now = promise_of(reader, plan, clock)
    ahead = (
        found.newest is not None
        and now is not None
        and bool(reader.rank(plan.read, found.newest) > reader.rank(plan.read, now))
    )
    return ExaminedFeed(plan=plan, promise=promise, examination=found, newest_is_ahead=ahead)
