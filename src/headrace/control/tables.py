"""The tables of the control database. Constraints are its invariants; migrations make these tables."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, Text

from headrace.control.metadata import count, flag, one_of, partial, single, text, together
from headrace.control.metadata import metadata as metadata
from headrace.control.types import BigId, Json, Timestamp
from headrace.domain.vocabulary import BatchKind, FeedClass


class RunState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    """Its lease was lost; what it journalled stays, the next run goes on from there."""


class PausedBy(StrEnum):
    DEFINITION = "definition"
    PERSON = "person"
    DRIFT = "drift"
    """Or, where `gave_up` says so, its failures: a kind of its own would be refused by older tables."""


# --- identity and definitions -------------------------------------------------------------------

workspace = sa.Table(
    "workspace",
    metadata,
    *single(),
    Column("id", Text, nullable=False, comment="names the stores and the readers of this installation"),
    Column("made_at", Timestamp, nullable=False),
    Column(
        "serves_from",
        Text,
        nullable=False,
        server_default="0009",
        comment="the migration since which processes may work beside those of the newest one",
    ),
)

definition = sa.Table(
    "definition",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("body", Json, nullable=False),
    Column("version", Integer, nullable=False, comment="the applied version that changed it last"),
)

definition_history = sa.Table(
    "definition_history",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("body", Json, comment="null: removed by this version"),
)

definition_version = sa.Table(
    "definition_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("compiled", Text, nullable=False, comment="what workers need of it, JSON text"),
    Column("applied_at", Timestamp, nullable=False),
)

# --- routing ------------------------------------------------------------------------------------

routing_version = sa.Table(
    "routing_version", metadata, *single(), Column("version", sa.BigInteger, nullable=False)
)

data_source = sa.Table(
    "data_source",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provided_id", Text, nullable=False, unique=True),
    Column("nickname", Text, nullable=False),
    Column("schema", Text, nullable=False),
    Column("isolation", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    Column("origin", Text, nullable=False),
    Column("config_version", Integer, nullable=False, server_default=sa.text("1")),
    Column("body", Json, nullable=False, comment="secrets as references only"),
    one_of("isolation", ("shared", "dedicated")),
    one_of("state", ("active", "draining", "disabled")),
    one_of("origin", ("config", "api")),
)

_DATA_SOURCE = "data_source.id"

data_source_group = sa.Table(
    "data_source_group",
    metadata,
    Column("data_source_id", ForeignKey(_DATA_SOURCE, ondelete="CASCADE"), primary_key=True),
    Column("visibility_group", Text, primary_key=True),
)

default_data_source = sa.Table(
    "default_data_source",
    metadata,
    Column("visibility_group", Text, primary_key=True),
    Column("schema", Text, primary_key=True),
    Column("data_source_id", ForeignKey(_DATA_SOURCE), nullable=False),
)

customer = sa.Table(
    "customer",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provided_id", Text, nullable=False),
    Column("visibility_group", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", ForeignKey("customer.id"), index=True),
    Column("properties", Json, nullable=False),
    Column("token_version", Integer, nullable=False, server_default=sa.text("1")),
    Column("origin", Text, nullable=False),
    Column("config_id", Text, unique=True, comment="the file that defines it"),
    Column("made_at", Timestamp, nullable=False),
    sa.UniqueConstraint("visibility_group", "provided_id"),
    CheckConstraint("parent_id <> id", name="parent"),
    CheckConstraint("(origin = 'config') = (config_id IS NOT NULL)", name="config_id"),
    one_of("origin", ("config", "api", "row")),
)

binding = sa.Table(
    "binding",
    metadata,
    Column("customer_id", ForeignKey("customer.id", ondelete="CASCADE"), primary_key=True),
    Column("schema", Text, primary_key=True),
    Column("data_source_id", ForeignKey(_DATA_SOURCE), nullable=False, index=True),
    Column("origin", Text, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=sa.text("1")),
    Column("state", Text, nullable=False, server_default="active"),
    Column("moving_to", ForeignKey(_DATA_SOURCE), index=True, comment="rows are journalled there too"),
    one_of("origin", ("explicit", "pinned_default")),
    one_of("state", ("active", "moving")),
    CheckConstraint("(state = 'moving') = (moving_to IS NOT NULL)", name="moving"),
)

# --- feeds and runs -----------------------------------------------------------------------------

feed = sa.Table(
    "feed",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    # the definitions it belongs to
    Column("definition_version", Integer, nullable=False),
    text("fingerprint"),
    text("shape_fingerprint"),
    Column("every_s", sa.Double),
    Column("cron", Text),
    Column("reconcile_kind", Text, nullable=False),
    Column("reconcile_every_s", sa.Double),
    # the position: changes only in the journal's transaction
    Column("saved_cursor", Text),
    Column("saved_key", Json),
    Column("lead_cursor", Text),
    Column("lead_key", Json),
    Column("fence_state", Text),
    flag("first_stream_done"),
    Column("digests", Json, nullable=False, server_default="{}"),
    Column("reconciliation", Json, comment="the one under way"),
    Column("reconciliation_epoch", sa.BigInteger, comment="of the lease that began it"),
    Column("class", Text),
    text("class_reason"),
    Column("source_seen", Text, comment="which database was read, and what is to be noted of it; JSON"),
    # the lease, by this database's clock
    count("epoch"),
    Column("lease_id", Text),
    Column("lease_until", Timestamp),
    # when it is polled
    Column("next_due", Timestamp, comment="null: only when asked"),
    Column("sent_at", Timestamp, comment="a scheduler sent its nudge and nobody has claimed it yet"),
    flag("again"),
    flag("paused"),
    Column("paused_by", Text),
    Column("paused_reason", Text),
    Column("paused_at", Timestamp),
    Column(
        "gave_up",
        Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="paused for its failures; older processes know that as drift",
    ),
    # reconciliations that were asked for
    Column("reconcile_wanted", Text),
    count("reconcile_asked_epoch"),
    flag("reconcile_confirm"),
    Column("reconcile_due_at", Timestamp),
    # how it went
    Column("checked_at", Timestamp),
    Column("failures", Integer, nullable=False, server_default=sa.text("0")),
    Column(
        "lasting_failures",
        Integer,
        nullable=False,
        server_default=sa.text("0"),
        comment="of those in a row, the ones that no repetition mends",
    ),
    Column("last_error", Text),
    Column("last_success_at", Timestamp),
    one_of("state", ("active", "ended")),
    one_of("reconcile_kind", ("keys", "full")),
    one_of("reconcile_wanted", ("keys", "full")),
    one_of("class", (c.value for c in FeedClass)),
    one_of("paused_by", (p.value for p in PausedBy)),
    together("lease_id", "lease_until", name="lease"),
    together("reconciliation", "reconciliation_epoch", name="reconciliation"),
    CheckConstraint("paused = (paused_by IS NOT NULL)", name="paused"),
    CheckConstraint("saved_key IS NULL OR saved_cursor IS NOT NULL", name="saved"),
    CheckConstraint("lead_key IS NULL OR lead_cursor IS NOT NULL", name="lead"),
    CheckConstraint("state = 'active' OR lease_id IS NULL", name="ended"),
    CheckConstraint("every_s IS NULL OR cron IS NULL", name="schedule"),
    partial("feed_active_key", "source_id", "app_id", where="state = 'active'", unique=True),
)

_FEED = "feed.id"

run = sa.Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("feed_id", ForeignKey(_FEED), nullable=False),
    Column("trigger", Text, nullable=False),
    Column("state", Text, nullable=False),
    count("rows_read"),
    count("rows_journalled"),
    count("rows_merged"),
    count("rejected"),
    Column("from_cursor", Text),
    Column("from_key", Json),
    Column("to_cursor", Text),
    Column("to_key", Json),
    Column("error", Text),
    Column("started_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    one_of("state", (s.value for s in RunState)),
    CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended"),
    partial("run_live_key", "feed_id", where="state = 'running'", unique=True),
    Index("run_started_idx", "started_at"),
    Index("run_feed_idx", "feed_id", "started_at"),
)

# --- the journal --------------------------------------------------------------------------------

feed_log = sa.Table(
    "feed_log",
    metadata,
    Column("feed_id", ForeignKey(_FEED), primary_key=True),
    Column("data_source_id", ForeignKey(_DATA_SOURCE), primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("log_id", Text, nullable=False, unique=True),
    count("seq"),
    count("merged_seq"),
    flag("wants_reconcile"),
    count("asked_epoch"),
    Column("reason", Text, comment="why the log was begun anew"),
    Column("cut_at", Timestamp, comment="since when nothing is journalled for the data source"),
    CheckConstraint("0 <= merged_seq AND merged_seq <= seq", name="seq"),
    Index("feed_log_merge_idx", "data_source_id", "model_id"),
)

batch = sa.Table(
    "batch",
    metadata,
    Column("id", Text, primary_key=True),
    Column("feed_id", ForeignKey(_FEED), nullable=False),
    Column("data_source_id", ForeignKey(_DATA_SOURCE), nullable=False),
    Column("model_id", Text, nullable=False),
    Column("log_id", Text, nullable=False),
    Column("seq", sa.BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    count("rows"),
    count("payload_bytes"),
    Column("meta", Json, nullable=False),
    Column("shape_fingerprint", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default=sa.text("0")),
    Column("next_attempt_at", Timestamp),
    Column("error", Text),
    Column("bisection", Json, comment="how far it is taken apart"),
    Column("journalled_at", Timestamp, nullable=False),
    Column("merged_at", Timestamp),
    Column("changed_at", Timestamp, comment="the oldest change in it, by the clock that sets the cursor"),
    Column("traceparent", Text, comment="of what journalled it (W3 Trace Context)"),
    sa.UniqueConstraint("feed_id", "data_source_id", "log_id", "seq"),
    one_of("kind", (k.value for k in BatchKind)),
    one_of("state", ("pending", "merged")),
    CheckConstraint("(state = 'merged') = (merged_at IS NOT NULL)", name="merged"),
    CheckConstraint("seq > 0", name="seq"),
    CheckConstraint("attempts >= 0", name="attempts"),
    Index("batch_log_idx", "log_id", "seq"),
    partial("batch_pending_idx", "feed_id", "data_source_id", where="state = 'pending'"),
    Index("batch_merged_idx", "merged_at"),
)

batch_payload = sa.Table(
    "batch_payload",
    metadata,
    Column("batch_id", ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True),
    Column("payload", LargeBinary, nullable=False, comment="Arrow IPC stream, zstd"),
)

key_request = sa.Table(
    "key_request",
    metadata,
    # Never used twice: an answer deletes by id, and must not meet a later request.
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("feed_id", ForeignKey(_FEED), nullable=False),
    Column("key", Text, nullable=False, comment="JSON array of texts"),
    Column("asked_at", Timestamp, nullable=False),
    sa.UniqueConstraint("feed_id", "key"),
    sqlite_autoincrement=True,
)

rejected_row = sa.Table(
    "rejected_row",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("feed_id", ForeignKey(_FEED), nullable=False),
    Column("key", Text, nullable=False, comment="JSON array of texts or nulls"),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False, comment="JSON object of the source's texts"),
    text("refused_by"),  # a data source; empty: none has seen it
    Column("batch_id", Text, comment="the batch that the data source refused it from"),
    Column("state", Text, nullable=False, server_default="open"),
    Column("attempts", Integer, nullable=False, server_default=sa.text("1")),
    Column("first_seen", Timestamp, nullable=False),
    Column("last_seen", Timestamp, nullable=False),
    one_of("state", ("open", "resolved", "discarded")),
    CheckConstraint("(batch_id IS NULL) = (refused_by = '')", name="refused_by"),
    partial("rejected_row_open_key", "feed_id", "key", "refused_by", where="state = 'open'", unique=True),
    Index("rejected_row_last_seen_idx", "last_seen"),
)

# --- history ------------------------------------------------------------------------------------

trigger_log = sa.Table(
    "trigger_log",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("source_id", Text, nullable=False),
    Column("app_id", Text),
    Column("customer", Text),
    count("keys"),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    text("asked_by"),
    Column("requests", sa.BigInteger, nullable=False, server_default=sa.text("1")),  # equal ones in a minute
    Index("trigger_log_at_idx", "at"),
)
