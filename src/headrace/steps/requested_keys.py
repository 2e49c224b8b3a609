"""Keys that somebody asked for: the store lacks them, a trigger named them, a person replays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.domain import payload
from headrace.domain.events import key_json
from headrace.domain.vocabulary import BatchKind
from headrace.ports import ExactKeys, KeyRequest, NewBatch, SourceReader
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.page import Key, canonical_keys, canonical_requests, deletes


@dataclass(slots=True, kw_only=True)
class RequestedKeys:
    """Fetches requested keys into the feed's log.

    Attributes:
        answers: times that keys were journalled: rows of any part may be among them.
        known_none: there were none a moment ago, so that the first answer need not ask. (Whoever asks since
            has asked for another poll too.)
    """

    writer: FeedWriter
    reader: SourceReader
    answers: int = 0
    known_none: bool = False

    def answer(self) -> bool:
        """Keys that were asked for are fetched; those that the source lacks are deletes. False: the process
        was asked to stop first."""
        if self.known_none:
            self.known_none = False
            return True
        feed_id, limit = self.writer.claimed.lease.feed_id, self.writer.limits.key_requests
        while requests := self.writer.feeds.key_requests(feed_id, limit=limit):
            self._fetch(requests)
            if self.writer.stopping():
                return False
        return True

    def _fetch(self, requests: Sequence[KeyRequest]) -> None:
        plan = self.writer.plan
        wanted = canonical_requests([r.key for r in requests], plan)
        found: set[tuple[str | None, ...]] = set()
        if wanted:
            with self.reader.read(plan.read, ExactKeys(tuple(sorted(wanted)))) as pages:
                for page in pages:
                    self.writer.journal_rows(page.rows, self.writer.all_stale())
                    found.update(canonical_keys(page.rows, plan))
        self.answers += 1
        gone = {asked: key for asked, key in wanted.items() if key not in found}
        self._journal_deletes(gone, answered=tuple(r.id for r in requests))

    def _journal_deletes(self, keys: Mapping[Key, Key], *, answered: tuple[int, ...]) -> None:
        """
        Args:
            keys: canonical texts by those that were asked for.
        """
        batches = self._deletes(keys)
        # A row that comes back as it was must be journalled again.
        state = self.writer.all_stale() if batches else self.writer.state
        asked = {key_json(key) for key in keys}
        canonical = {key_json(key) for key in keys.values()}
        self.writer.append(
            batches,
            state,
            answered_requests=answered,
            seen_keys=tuple(sorted(self.writer.open_rejected & asked)),
            vanished_keys=() if batches else tuple(sorted(asked | canonical)),
        )

    def _deletes(self, keys: Mapping[Key, Key]) -> list[NewBatch]:
        """One batch for each data source that the feed writes to: the key may be in any of them."""
        plan = self.writer.plan
        if not keys or plan.deletes == "ignore":
            return []
        table = deletes(sorted(set(keys.values())), plan)
        encoded = payload.encode(table)
        return [
            NewBatch(data_source_id=target, kind=BatchKind.ROWS, rows=table.num_rows, payload=encoded)
            for target in self.writer.written_to()
        ]
