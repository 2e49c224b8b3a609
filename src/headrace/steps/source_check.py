"""Before a visit reads anything: the source is the one that was applied and read, or it is told otherwise."""

from __future__ import annotations

from dataclasses import replace

from headrace import logs, metrics
from headrace.domain import digests
from headrace.domain.digests import Provisional
from headrace.domain.position import lowered
from headrace.domain.source_seen import SourceSeen, columns_made_anew, why_restored
from headrace.ports import FeedState, SourceReader
from headrace.steps.drift import fitting
from headrace.steps.feed_writer import FeedWriter

log = logs.get(__name__)


def check_source(writer: FeedWriter, reader: SourceReader) -> None:
    """The source fits its definition, and the feed knows which database it reads.

    A database that was restored or failed over is compared in full by this visit, and the position goes
    back to where its transactions may still commit. So is one with a column that was made anew, whose
    position stays.

    Raises:
        SourceDriftError: the source does not fit.
    """
    plan, known = writer.plan, SourceSeen.from_text(writer.claimed.source_seen)
    relation = plan.read.relation
    notes = fitting(plan, reader.describe(relation))
    for note in notes:
        if note not in known.notes:
            log.warning("the source has changed", note=note)
    found = reader.identity(relation)
    restored = why_restored(known.identity, found)
    writer.seen = replace(known.with_identity(found), notes=notes)
    if restored is not None:
        _start_over(writer, reader, restored)
    elif anew := columns_made_anew(known.identity, found, used=plan.read.columns):
        _compare_anew(writer, anew)
    elif notes != known.notes:
        writer.append((), writer.state)


def _start_over(writer: FeedWriter, reader: SourceReader, why: str) -> None:
    source = writer.claimed.source_id
    log.warning("the source was restored: it is compared in full", source=source, why=why)
    metrics.SOURCES_RESTORED.labels(source=source).inc()
    _compare(writer, _gone_back(writer, reader), why)


def _compare_anew(writer: FeedWriter, columns: tuple[str, ...]) -> None:
    why = f"{', '.join(columns)}: made anew, with values that no change of a row told of"
    log.warning("a column was made anew: the source is compared in full", columns=columns)
    _compare(writer, replace(writer.state, reconciliation=None), why)


def _compare(writer: FeedWriter, state: FeedState, why: str) -> None:
    """The feed is at this state, and this visit compares its source in full."""
    writer.seen = replace(writer.seen, restored=why)
    writer.append((), state, asks_reconcile=True)
    writer.claimed = replace(writer.claimed, reconcile="full")


def _gone_back(writer: FeedWriter, reader: SourceReader) -> FeedState:
    """The state of a feed that trusts nothing of what it knew of its source.

    What is there now the reconciliation finds. What comes later comes at or above the fence of the
    database as it is now, whose clock may be behind that of the one that was read.
    """
    state = replace(
        writer.state,
        fence_state=None,
        digests={**digests.all_stale(writer.state.digests), Provisional.PART: ""},
        reconciliation=None,
    )
    read = writer.plan.read
    if read.cursor is None or state.saved is None:
        return replace(state, saved=None, lead=None)
    fence = reader.fence(read, None)
    if fence.bound is None:
        return replace(state, saved=None, lead=None)
    at = replace(fence, resume=fence.bound)
    saved = lowered(state.saved, at, lambda cursor: reader.rank(read, cursor))
    return replace(state, saved=saved, lead=saved)
