"""Read a feed again from a cursor: what somebody restored, loaded by hand, or changed without its cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headrace.domain.position import Position
from headrace.domain.vocabulary import AppId, FeedId, SourceId
from headrace.errors import ConfigurationError
from headrace.ports import Definitions, Readers

_TRIES = 20
"""Of one feed, whose position a poll may move meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPosition:
    """Up to where a feed is read: `saved`, from which reading goes on."""

    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    saved: Position | None


class Positions(Protocol):
    """Where feeds are, and how they are put back."""

    def positions(self, source_id: str) -> list[FeedPosition]:
        """Of the active feeds of a source."""
        ...

    def read_again(self, at: FeedPosition, cursor: str, *, actor: str) -> bool:
        """The feed reads on from this cursor, whoever holds its lease writes nothing any more, and the audit
        says who wanted it. False, with nothing written, when the feed is no longer at `at`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillStep:
    """Puts the feeds of a source back to a cursor."""

    positions: Positions
    readers: Readers
    catalogue: Definitions

    def read_again(self, source_id: str, cursor: str, *, actor: str) -> list[FeedId]:
        """Every feed of the source reads again what has this cursor or a greater one; gives those that have
        read anything. All their rows are journalled, also those that are as they were.

        Args:
            cursor: the source's own text.
            actor: who wants it, for the audit.

        Raises:
            ConfigurationError: the source has no cursor, the text is none, or a feed has not read so far:
                it would leave rows out. No feed was put back.
        """
        feeds = self.positions.positions(source_id)
        for at in feeds:
            self._require_read(at, cursor)
        begun = [at for at in feeds if at.saved is not None]
        for at in begun:
            self._put_back(at, cursor, actor=actor)
        return [at.feed_id for at in begun]

    def _put_back(self, at: FeedPosition, cursor: str, *, actor: str) -> None:
        for _ in range(_TRIES):
            if self.positions.read_again(at, cursor, actor=actor):
                return
            found = self.positions.positions(at.source_id)
            at = next((now for now in found if now.feed_id == at.feed_id), at)
            self._require_read(at, cursor)
        raise ConfigurationError(f"{at.source_id}: its position moves faster than it can be put back")

    def _require_read(self, at: FeedPosition, cursor: str) -> None:
        read = self.catalogue().feed(at.source_id, at.app_id).read
        if read.cursor is None:
            raise ConfigurationError(
                f"{at.source_id} has no cursor to read from: headrace reconcile {at.source_id} --full "
                "compares all its values"
            )
        saved = at.saved
        if saved is None:
            return
        with self.readers.lend(at.app_id) as reader:
            try:
                wanted = reader.rank(read, cursor)
            except (ValueError, ArithmeticError):
                raise ConfigurationError(
                    f"{at.source_id}: {cursor!r} is no value of its cursor {read.cursor}, of which "
                    f"{saved.cursor!r} is one"
                ) from None
            if wanted > reader.rank(read, saved.cursor):
                raise ConfigurationError(
                    f"{at.source_id}@{at.app_id} has read up to {saved.cursor!r}: to go on from {cursor!r} "
                    "would leave out what lies between"
                )
