"""Feeds at rest: a poll of a source that has not changed reads nothing.

It holds in one process and for one reader alone, since only they can compare two of the source's tokens
(`SourceReader.change_token`); after a restart or a take-over the feed is read as ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.vocabulary import FeedId
from headrace.ports import ClaimedFeed, FeedState, SourceReader


@dataclass(frozen=True, slots=True)
class Rest:
    """How a feed was left by a visit that came to its end.

    Attributes:
        token: the source's, asked before anything was read: what changed meanwhile shows at the next visit.
        state: as journalled: nobody else has polled the feed since.
    """

    reader: SourceReader
    token: str
    state: FeedState
    definition_version: int


Rests = dict[FeedId, Rest]


def is_at_rest(rests: Rests, claimed: ClaimedFeed, reader: SourceReader, token: str | None) -> bool:
    """Nothing has changed at the source since the feed was read to its end, and nothing is asked of it but
    keys."""
    if token is None or claimed.reconcile or claimed.reconcile_into or claimed.confirm:
        return False
    now = Rest(reader, token, claimed.state, claimed.definition_version)
    return rests.get(claimed.lease.feed_id) == now


def note_rest(
    rests: Rests, claimed: ClaimedFeed, reader: SourceReader, *, token: str | None, state: FeedState
) -> None:
    """The visit came to its end; `token` is from its beginning."""
    if token is not None:
        rests[claimed.lease.feed_id] = Rest(reader, token, state, claimed.definition_version)
