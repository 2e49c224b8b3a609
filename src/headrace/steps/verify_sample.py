"""Records chosen at random: half of those that the source gives, half of those that stores have."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from headrace.domain.arrow import Table
from headrace.domain.coercion import canonical_text
from headrace.domain.vocabulary import CUSTOMER
from headrace.ports import KeyRange, Stores
from headrace.steps.given_rows import GivenFeed, GivenRows, Keys
from headrace.steps.page import canonical_keys, complete

_KEYS_A_PAGE = 100_000

_Drawn = tuple[float, str | None, tuple[str, ...]]
"""A key with the number that it drew, and its customer where that is known."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`size` records of each model; the same seed chooses the same ones of the same rows."""

    size: int
    seed: int

    def chosen(self, given: GivenRows, stores: Stores, *, a_time: int) -> Iterator[Keys]:
        """The keys, `a_time` of them at a time."""
        dice = random.Random(self.seed)  # noqa: S311 (a sample, no secret)
        half = (self.size + 1) // 2
        of_source = heapq.nsmallest(half, _given(given, dice))
        known = {key for _, _, key in of_source}
        others = (drawn for drawn in _stored(given, stores, dice) if drawn[2] not in known)
        drawn = [*of_source, *heapq.nsmallest(self.size - len(of_source), others)]
        for start in range(0, len(drawn), a_time):
            keys: dict[str | None, list[tuple[str, ...]]] = {}
            for _, customer, key in drawn[start : start + a_time]:
                keys.setdefault(customer, []).append(key)
            yield keys


def _given(given: GivenRows, dice: random.Random) -> Iterator[_Drawn]:
    for feed in given.feeds:
        if feed.source.primary:
            yield from _keys_of_source(given, feed, dice)


def _keys_of_source(given: GivenRows, feed: GivenFeed, dice: random.Random) -> Iterator[_Drawn]:
    plan = feed.plan
    read = replace(plan.read, columns=plan.read.key, cursor=None, page_rows=_KEYS_A_PAGE)
    with given.readers.lend(plan.app_id) as reader, reader.read(read, KeyRange(None, None, None)) as pages:
        for page in pages:
            for key in canonical_keys(page.rows, plan):
                if (whole := complete(key)) is not None:
                    yield dice.random(), plan.customer, whole


def _stored(given: GivenRows, stores: Stores, dice: random.Random) -> Iterator[_Drawn]:
    """Keys of records; where rows say their customer it is left to them."""
    in_column = given.model.primary.customer_in_column
    for target in given.targets:
        store = stores.open(target)
        after: tuple[str, tuple[str, ...]] | None = None
        while (rows := store.key_page(given.model, after=after, limit=_KEYS_A_PAGE)).num_rows:
            customers = _texts(rows, CUSTOMER)
            keys = list(zip(*(_texts(rows, c.name) for c in given.model.key), strict=True))
            for customer, key in zip(customers, keys, strict=True):
                yield dice.random(), None if in_column else customer, key
            after = (customers[-1], keys[-1])


def _texts(rows: Table, name: str) -> list[str]:
    texts: list[str] = canonical_text(rows.column(name)).to_pylist()
    return texts
