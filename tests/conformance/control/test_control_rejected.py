"""Rejected rows that a data source refused: set aside with their batch, closed by a later version of them."""

from __future__ import annotations

import pytest

from headrace.domain.vocabulary import BatchId
from headrace.errors import InvariantError
from tests.conformance.control.project import MAIN, SIDE, Control, rejected, rows


def keys(control: Control, state: str = "open") -> list[str]:
    return [str(row.key[0]) for row in control.runs.rejected(limit=9, state=state)]


def test_a_bisection_is_kept_with_its_batch_until_it_is_merged(control: Control) -> None:
    log, ids = control.journalled(rows(), rows())
    control.journal.note_bisection(ids[0], {"phase": "alone", "parts": [[0, 1]]})
    first, second = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert (first.bisection, second.bisection) == ({"phase": "alone", "parts": [[0, 1]]}, None)
    control.journal.mark_merged(ids[:1], rows_changed=1)
    control.journal.note_bisection(ids[0], {"phase": "late"})
    assert control.count("batch", "bisection IS NOT NULL AND CAST(bisection AS text) <> 'null'") == 0


def test_what_is_set_aside_of_a_batch_is_what_was_told_last_and_counted_once(control: Control) -> None:
    log, ids = control.journalled(rows())
    for told in (['["1"]', '["2"]'], ['["1"]', '["2"]'], ['["2"]', '["3"]']):
        control.journal.set_aside(ids[0], [rejected(key, "refused") for key in told])
    assert (keys(control), keys(control, "resolved")) == (["2", "3"], ["1"])
    found = control.runs.rejected(limit=9)
    assert [(r.data_source_id, r.attempts) for r in found] == [(MAIN, 1), (MAIN, 1)]
    assert control.runs.runs(limit=1)[0].rejected == 3
    (waiting,) = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert waiting.may_supersede
    control.journal.set_aside(ids[0], [])
    (waiting,) = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert (keys(control), waiting.may_supersede) == ([], False)


def test_a_row_that_is_refused_again_is_the_same_one(control: Control) -> None:
    _, first = control.journalled(rows())
    control.journal.set_aside(first[0], [rejected(code="refused")])
    _, second = control.journalled(rows())
    control.journal.set_aside(second[0], [rejected(code="killed")])
    (row,) = control.runs.rejected(limit=9)
    assert (row.code, row.attempts) == ("killed", 2)
    (refused,) = control.journal.refused_rows(control.feed())
    assert (refused.id, refused.key, refused.data_source_id) == (row.id, '["1"]', MAIN)
    assert refused.batch_id == second[0]


def test_a_refused_row_tells_when_its_batch_was_journalled_or_else_when_it_was_refused(
    control: Control,
) -> None:
    log, ids = control.journalled(rows())
    (waiting,) = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    control.journal.set_aside(ids[0], [rejected(code="refused")])
    (refused,) = control.journal.refused_rows(control.feed())
    assert refused.journalled_at == waiting.journalled_at
    control.journal.begin_new_log(log, "its batches are gone")
    (refused,) = control.journal.refused_rows(control.feed())
    assert refused.journalled_at == control.runs.rejected(limit=1)[0].last_seen


def test_a_batch_that_is_merged_or_gone_sets_nothing_aside(control: Control) -> None:
    _, ids = control.journalled(rows())
    control.journal.mark_merged(ids, rows_changed=1)
    for batch_id in (ids[0], BatchId("never was")):
        control.journal.set_aside(batch_id, [rejected(code="refused")])
    assert keys(control) == []


def test_only_a_merge_closes_what_a_data_source_refused(control: Control) -> None:
    _, ids = control.journalled(rows(), rows(SIDE))
    control.journal.set_aside(ids[0], [rejected(code="refused")])
    control.journal.set_aside(ids[1], [rejected(code="refused"), rejected('["2"]', "refused")])
    claimed = control.claimed()
    control.append(claimed, rejected=[rejected()])
    assert control.feeds.open_rejected_keys(control.feed()) == {'["1"]'}
    control.append(claimed, seen_keys=['["1"]'])
    control.release(claimed)
    open_rows = control.runs.rejected(limit=9)
    assert [(r.key, r.data_source_id) for r in open_rows] == [(("1",), MAIN), (("1",), SIDE), (("2",), SIDE)]
    control.journal.resolve([open_rows[0].id, open_rows[2].id])
    assert [r.data_source_id for r in control.runs.rejected(limit=9)] == [SIDE]
    assert control.seen().rejected == 1


def test_what_vanished_and_is_not_journalled_closes_whoever_refused_it(control: Control) -> None:
    _, ids = control.journalled(rows())
    control.journal.set_aside(ids[0], [rejected(code="refused"), rejected('["2"]', "refused")])
    control.append(control.claimed(), vanished_keys=['["1"]'])
    assert keys(control) == ["2"]


def test_a_whole_read_closes_the_lines_that_are_no_rows_and_that_it_did_not_find(control: Control) -> None:
    lines = [rejected(key, "unreadable") for key in ('["row 2"]', '["row 3"]')]
    claimed = control.claimed()
    control.append(claimed, rejected=[*lines, rejected('["4"]', "key_unfit")])
    control.append(claimed)
    assert keys(control) == ["row 2", "row 3", "4"]
    control.append(claimed, unreadable=['["row 3"]'])
    assert (keys(control), keys(control, "resolved")) == (["row 3", "4"], ["row 2"])
    control.append(claimed, unreadable=[])
    assert keys(control) == ["4"]


def test_rows_are_found_by_source_code_state_and_id(control: Control) -> None:
    control.append(control.claimed(), rejected=[rejected(), rejected('["2"]', "key_null")])
    control.append(control.claimed("purchases"), rejected=[rejected('["3"]')])
    found = control.runs.rejected
    assert [r.key for r in found(limit=9, source_id="users")] == [("1",), ("2",)]
    assert [r.key for r in found(limit=9, code="bad_key")] == [("1",), ("3",)]
    assert [r.key for r in found(limit=9, ids=[found(limit=9)[1].id])] == [("2",)]
    assert [r.key for r in found(limit=2)] == [("1",), ("2",)]
    assert found(limit=9, state="discarded") == []


def test_a_replay_asks_for_what_it_is_told_to(control: Control) -> None:
    control.append(control.claimed(), rejected=[rejected(), rejected('["2"]')])
    control.append(control.claimed("purchases"), rejected=[rejected('["3"]')])
    one = control.runs.rejected(limit=9)[1]
    assert control.runs.replay(ids=[one.id]) == [control.feed()]
    assert [r.key for r in control.feeds.key_requests(control.feed(), limit=9)] == [("2",)]
    assert len(control.runs.replay()) == 2


def test_a_discard_is_audited_with_who_and_what(control: Control) -> None:
    control.append(control.claimed(), rejected=[rejected(), rejected('["2"]')])
    first = control.runs.rejected(limit=9)[0]
    assert control.runs.discard(actor="ann", ids=[first.id, 999]) == 1
    assert control.runs.discard(actor="ann", source_id="purchases") == 0
    assert keys(control, "discarded") == ["1"]
    assert control.count("audit", "actor = 'ann' AND action = 'rejected.discard'") == 1


def test_the_tables_refuse_a_refused_row_without_its_batch(control: Control) -> None:
    control.append(control.claimed(), rejected=[rejected()])
    with pytest.raises(InvariantError):
        control.write("UPDATE rejected_row SET refused_by = 'main'")
