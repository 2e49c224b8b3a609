"""Below which time no transaction of a MySQL or MariaDB server can still commit.

Theorem: if every change sets its cursor by the clock of the statement that writes it (CURRENT_TIMESTAMP,
NOW(), ON UPDATE), or of one after its transaction first touched a table, a change that a snapshot does not
see has a cursor at or above the fence that was taken *before* the snapshot.

Proof: InnoDB showed the change's transaction, or did not. Not shown: its first statement (later ones have
later times) began after the clock was read, or was seen running, and the fence is not above its start.
Shown, but not by the look before: its first statement began after that look, or was seen running by it
(`fence_look`). Shown by both: what held then holds now. At the first look of all nothing is known of whoever
runs, for its statement may have waited for any time: all is held until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from headrace.domain.clock_step import ClockSight, set_back_by
from headrace.domain.position import Fence
from headrace.domain.vocabulary import FeedClass
from headrace.ports import ReadPlan
from headrace.sources.fence_look import Look, known_starts
from headrace.sources.fence_memory import Memory, Sighting, decide_fence, read_memory, write_memory
from headrace.sources.mysql_catalogue import MysqlRelation
from headrace.sources.mysql_column import OFFSET, TIMES, MysqlColumn
from headrace.sources.mysql_sighting import ServerSighting
from headrace.sources.mysql_type import SEEN_ENGINES
from headrace.sources.wall_clock import lowered_wall, raised_wall

_DAY: Final = timedelta(days=1)
_LOWEST: Final = {
    "date": "0000-00-00",
    "datetime": "0000-00-00 00:00:00",
    "timestamp": f"0000-00-00 00:00:00{OFFSET}",
}


def timeless(cursor: MysqlColumn | None) -> Fence:
    """The fence of a plan without a cursor, or with one that is no time."""
    why = "there is no cursor" if cursor is None else f"the cursor {cursor.facts.name} is not a time"
    return Fence(now=None, bound=None, feed_class=FeedClass.EVENTUAL, reason=why)


def take_fence(
    seen: ServerSighting,
    relation: MysqlRelation,
    plan: ReadPlan,
    previous_state: str | None,
    *,
    clock: ClockSight,
    margin_s: float,
) -> Fence:
    """The fence of a plan's cursor from what was seen, at most a moment ago.

    Args:
        clock: the server's clock, after all was seen.
        margin_s: a statement takes its time slightly before others can see that it runs.
    """
    cursor = relation.column(plan.cursor) if plan.cursor else None
    if cursor is None or cursor.kind not in TIMES:
        return timeless(cursor)
    memory = read_memory(previous_state)
    set_back = set_back_by(memory.clock, clock)
    resume = memory.clock.at - set_back if memory.clock and set_back else None
    decided = decide(seen, memory.set_back(set_back))
    feed_class, why = _class(seen, relation)
    rendered = _Rendered(cursor, plan, margin_s)
    return Fence(
        now=rendered.now(clock.at),
        bound=rendered.bound(decided.fence),
        feed_class=feed_class,
        # Where transactions cannot be seen the fence is a guess, which no later one may rest on.
        state=write_memory(replace(Memory() if seen.blind else decided, clock=clock)),
        reason=why,
        running=None if seen.blind or seen.detached is None else seen.running | seen.detached,
        resume=rendered.bound(resume) if resume else None,
    )


def _class(seen: ServerSighting, relation: MysqlRelation) -> tuple[FeedClass, str]:
    unseen = ", ".join(sorted(relation.engines - SEEN_ENGINES))
    if unseen:
        return FeedClass.EVENTUAL, f"transactions of the engine {unseen} cannot be seen"
    if seen.blind:
        return FeedClass.EVENTUAL, seen.blind
    if seen.partial:
        return FeedClass.BOUNDED, seen.partial
    return FeedClass.EXACT, ""


def decide(seen: ServerSighting, memory: Memory) -> Memory:
    """What the next fence is told, and this one."""
    if seen.blind:
        return Memory(fence=seen.oldest)
    if seen.detached is None:  # nothing new is known: the last fence still is one
        return memory
    began = known_starts(seen.transactions, memory.look, memory.prepared)
    unbounded = seen.transactions - began.keys()
    oldest = min([seen.oldest, *began.values()])
    sighting = Sighting(at=seen.at, oldest=oldest, running=seen.running, prepared=seen.detached | unbounded)
    look = Look(at=seen.at, statements=seen.statements, transactions=began)
    return replace(decide_fence(sighting, memory), look=look)


def knows_nothing(fence: Fence) -> bool:
    """Transactions that ran at the first look hold all: once they have ended another look knows more."""
    memory = read_memory(fence.state)
    return memory.look is not None and memory.fence is None


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Moments as texts of the cursor column, rounded as the column rounds."""

    cursor: MysqlColumn
    plan: ReadPlan
    margin_s: float

    def now(self, clock: datetime) -> str:
        """The clock, ahead by the declared skew: what is read up to. A column rounds up from a half."""
        ahead = clock + timedelta(seconds=self.plan.skew_s)
        if self.cursor.kind == "date":
            return raised_wall(ahead, self.plan.time_zone).strftime("%Y-%m-%d")
        local = self._utc(ahead) or raised_wall(ahead, self.plan.time_zone)
        return self._written(local + self._quantum() / 2)

    def bound(self, fence: datetime | None) -> str:
        """The fence less margin, declared skew and the column's quantum: what is below it can neither come
        late nor tie with what comes. The lowest value for None."""
        if fence is None:
            return _LOWEST[self.cursor.kind]
        behind = fence - timedelta(seconds=self.margin_s + self.plan.skew_s)
        if self.cursor.kind == "date":
            return (lowered_wall(behind, self.plan.time_zone) - _DAY).strftime("%Y-%m-%d")
        local = self._utc(behind) or lowered_wall(behind, self.plan.time_zone)
        return self._written(local - self._quantum())

    def _utc(self, moment: datetime) -> datetime | None:
        """What a TIMESTAMP shows in the reader's session; None for a naive column."""
        return moment.replace(tzinfo=None) if self.cursor.kind == "timestamp" else None

    def _quantum(self) -> timedelta:
        return timedelta(microseconds=10 ** (6 - self.cursor.digits))

    def _written(self, local: datetime) -> str:
        digits = self.cursor.digits
        fraction = f".{local.microsecond:06d}"[: digits + 1] if digits else ""
        offset = OFFSET if self.cursor.kind == "timestamp" else ""
        return f"{local:%Y-%m-%d %H:%M:%S}{fraction}{offset}"
