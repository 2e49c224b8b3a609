"""What the tables themselves rule out, whoever writes."""

from __future__ import annotations

from headrace.errors import InvariantError
from tests.conformance.control.project import Control, rejected, rows

BATCH = (
    "id, feed_id, data_source_id, model_id, log_id, seq, kind, rows, payload_bytes, meta,"
    " shape_fingerprint, run_id, state, attempts, journalled_at"
)
REFUSED = {
    "a batch of unknown kind": "UPDATE batch SET kind = 'bulk'",
    "a batch of unknown state": "UPDATE batch SET state = 'lost'",
    "a merged batch without its time": "UPDATE batch SET state = 'merged'",
    "a batch before the first": "UPDATE batch SET seq = 0",
    "a number that was given already": f"""
        INSERT INTO batch ({BATCH}) SELECT 'other', {BATCH.removeprefix("id, ")} FROM batch""",
    "more merged than journalled": "UPDATE feed_log SET merged_seq = seq + 1",
    "a log of a data source that does not exist": "UPDATE feed_log SET data_source_id = 'nowhere'",
    "a lease without an end": "UPDATE feed SET lease_id = 'x', lease_until = NULL",
    "a pause by nobody": "UPDATE feed SET paused = true",
    "a class that nobody promised": "UPDATE feed SET class = 'perfect'",
    "a key without a cursor": "UPDATE feed SET lead_cursor = NULL",
    "two schedules": "UPDATE feed SET cron = '* * * * *'",
    "an ended feed with a lease": "UPDATE feed SET state = 'ended'",
    "an ended run that is running": "UPDATE run SET ended_at = started_at",
    "two active feeds of a source and app": "UPDATE feed SET source_id = 'users'",
    "a second workspace": "INSERT INTO workspace (single, id, made_at) SELECT 2, id, made_at FROM workspace",
    "a second routing version": "INSERT INTO routing_version VALUES (2, 1)",
    "two open rejected rows of a key": "UPDATE rejected_row SET key = '[\"1\"]'",
    "two defaults of a group and schema": """
        INSERT INTO default_data_source SELECT visibility_group, schema, 'side' FROM default_data_source""",
}


def test_the_tables_refuse_what_never_is(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), rejected=[rejected(), rejected('["2"]')])
    assert [what for what, statement in REFUSED.items() if _accepts(control, statement)] == []


def _accepts(control: Control, statement: str) -> bool:
    try:
        control.write(statement)
    except InvariantError:
        return False
    return True
