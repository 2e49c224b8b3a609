"""One visit of a fetch worker to a feed: requested keys, the stream, the lanes, moves, a reconciliation.

One snapshot is open at a time, and the next opens only when all that was read before is journalled: so
the order of the log is the order in which the source was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from headrace.domain import digests
from headrace.domain.position import NO_CURSOR, Fence, promised_class
from headrace.domain.reread import FenceMemory
from headrace.domain.vocabulary import FeedClass
from headrace.ports import Beyond, Clock, NullCursors, SourceReader
from headrace.steps import reconcile
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.key_order import KeyOrder
from headrace.steps.lane import MANY, KeysRead, Lanes
from headrace.steps.move_reading import MoveReading
from headrace.steps.reconcile import Reconcile
from headrace.steps.requested_keys import RequestedKeys
from headrace.steps.rest import Rests, is_at_rest, note_rest
from headrace.steps.source_check import check_source
from headrace.steps.stream import Kept, Stream

_BY_ITSELF = frozenset({"schedule", "trigger"})
"""What begins a poll that nobody waits for: messages may ask for many."""
_UNDECLARED = frozenset({"business", "undeclared"})
"""Clocks of which nothing is promised: how their feeds are reconciled is for the definition to say."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """Everything that is asked of one feed, in order; its writer has what came of it.

    Attributes:
        complete: all of it is journalled; False until then, and when the visit had to yield (see
            `FeedWriter.must_yield`).
    """

    writer: FeedWriter
    reader: SourceReader
    clock: Clock
    kept: Kept
    rests: Rests
    complete: bool = False
    _requested: RequestedKeys = field(init=False)
    _stream: Stream = field(init=False)
    _lanes: Lanes = field(init=False)
    _moves: MoveReading = field(init=False)

    def __post_init__(self) -> None:
        keys: KeysRead = {}
        self._requested = RequestedKeys(
            writer=self.writer, reader=self.reader, known_none=not self.writer.claimed.has_requests
        )
        self._stream = Stream(
            writer=self.writer, reader=self.reader, clock=self.clock, keys=keys, kept=self.kept
        )
        self._lanes = Lanes(writer=self.writer, reader=self.reader, keys=keys)
        self._moves = MoveReading(writer=self.writer, reader=self.reader, poll=self._poll)

    def run(self) -> None:
        writer = self.writer
        if writer.claimed.settles or writer.stopping():
            return
        if writer.claimed.has_pending and writer.must_yield():
            return
        check_source(writer, self.reader)
        if writer.plan.read.cursor is None:
            writer.promise(*NO_CURSOR)
        if writer.claimed.has_open_rejected:
            writer.open_rejected = writer.feeds.open_rejected_keys(writer.claimed.lease.feed_id)
        # Lanes with many rows are read once for each reconciliation, by the visit that begins it.
        self._lanes.reads_many = reconcile.begins(writer.claimed)
        self._stream.unmetered = writer.trigger not in _BY_ITSELF or self._lanes.reads_many
        token = self.reader.change_token()
        if not writer.claimed.has_moves and is_at_rest(self.rests, writer.claimed, self.reader, token):
            self.complete = self._requested.answer()
            return
        self.complete = (
            self._poll()
            and (not writer.claimed.has_moves or self._moves.read())
            and self._reconcile()
            and not self._moves.waits
        )
        if self.complete and not self._leaves_rows():
            note_rest(self.rests, writer.claimed, self.reader, token=token, state=writer.state)

    def _leaves_rows(self) -> bool:
        """A poll may find more in a source that has not changed: what was put off, or has come of age."""
        return self._stream.put_off or digests.was_last(self.writer.state.digests, "beyond", MANY)

    def _poll(self) -> bool:
        """What was asked for, and what changed, is journalled; False: up to where the visit must yield."""
        return self._requested.answer() and self._read_changes()

    def _read_changes(self) -> bool:
        """Rows after the saved position are journalled up to the source's clock, and the lanes."""
        writer, read = self.writer, self.writer.plan.read
        if read.cursor is None:
            return True
        fence = self._fence()
        feed_class, reason = promised_class(writer.plan.clock, fence)
        writer.promise(feed_class, reason)
        if feed_class is FeedClass.EVENTUAL:
            self._reconcile_in_full()
        if not self._stream.read(fence) or not self._lanes.read("null", NullCursors()):
            return False
        if fence.now is not None and not self._lanes.read("beyond", Beyond(fence.now)):
            return False
        self._lanes.reads_many = self._stream.unmetered = False
        return True

    def _fence(self) -> Fence:
        """Asked before anything is read; nothing more is asked of a source that has nothing new."""
        writer, read = self.writer, self.writer.plan.read
        known = FenceMemory.from_text(writer.state.fence_state).reader
        quiet = self.reader.quiet(read, known, writer.state.saved) if self._may_be_quiet() else None
        self._stream.nothing_new = self._lanes.nothing_new = quiet is not None
        return quiet or self.reader.fence(read, known)

    def _may_be_quiet(self) -> bool:
        """Nobody has said that something has changed."""
        return self.writer.trigger == "schedule" and self.writer.state.first_stream_done

    def _reconcile_in_full(self) -> None:
        """Keys alone suffice for a feed that misses no change. This one's clock was declared, so that keys
        are what is asked for, but it turns out to miss some: the reconciliation is to find them."""
        claimed, declared = self.writer.claimed, self.writer.plan.clock not in _UNDECLARED
        if declared and claimed.reconcile == "keys":
            self.writer.claimed = replace(claimed, reconcile="full")

    def _reconcile(self) -> bool:
        return Reconcile(
            writer=self.writer,
            source=KeyOrder(plan=self.writer.plan, reader=self.reader),
            # A long reconciliation keeps no customer from moving: what began meanwhile is read in between.
            poll=lambda: self._poll() and self._moves.read(),
            answers=lambda: self._requested.answers + self._moves.pages,
        ).run()
