"""The first tables: identity, definitions, routing, feeds, the journal, access and history."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from headrace.control import types

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("visibility_group", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("made_at", types.Timestamp(), nullable=False),
        sa.Column("last_used_at", types.Timestamp(), nullable=True),
        sa.Column("revoked_at", types.Timestamp(), nullable=True),
        sa.CheckConstraint("access IN ('read', 'write')", name=op.f("api_token_access_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_token_pkey")),
        sa.UniqueConstraint("hash", name=op.f("api_token_hash_key")),
    )
    op.create_table(
        "audit",
        sa.Column("id", types.BigId, autoincrement=True, nullable=False),
        sa.Column("at", types.Timestamp(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("data_source_id", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("via", sa.Text(), nullable=True),
        sa.Column("detail", types.Json, server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index("audit_at_idx", "audit", ["at"], unique=False)
    op.create_table(
        "customer",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provided_id", sa.Text(), nullable=False),
        sa.Column("visibility_group", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("properties", types.Json, nullable=False),
        sa.Column("token_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("config_id", sa.Text(), nullable=True, comment="the file that defines it"),
        sa.Column("made_at", types.Timestamp(), nullable=False),
        sa.CheckConstraint(
            "(origin = 'config') = (config_id IS NOT NULL)", name=op.f("customer_config_id_check")
        ),
        sa.CheckConstraint("origin IN ('config', 'api', 'row')", name=op.f("customer_origin_check")),
        sa.CheckConstraint("parent_id <> id", name=op.f("customer_parent_check")),
        sa.ForeignKeyConstraint(["parent_id"], ["customer.id"], name=op.f("customer_parent_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_pkey")),
        sa.UniqueConstraint("config_id", name=op.f("customer_config_id_key")),
        sa.UniqueConstraint(
            "visibility_group", "provided_id", name=op.f("customer_visibility_group_provided_id_key")
        ),
    )
    op.create_index(op.f("customer_parent_id_idx"), "customer", ["parent_id"], unique=False)
    op.create_table(
        "data_source",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provided_id", sa.Text(), nullable=False),
        sa.Column("nickname", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("isolation", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("config_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("body", types.Json, nullable=False, comment="secrets as references only"),
        sa.CheckConstraint("isolation IN ('shared', 'dedicated')", name=op.f("data_source_isolation_check")),
        sa.CheckConstraint("origin IN ('config', 'api')", name=op.f("data_source_origin_check")),
        sa.CheckConstraint(
            "state IN ('active', 'draining', 'disabled')", name=op.f("data_source_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("data_source_pkey")),
        sa.UniqueConstraint("provided_id", name=op.f("data_source_provided_id_key")),
    )
    op.create_table(
        "definition",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", types.Json, nullable=False),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="the applied version that changed it last"
        ),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("definition_pkey")),
    )
    op.create_table(
        "definition_history",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", types.Json, nullable=True, comment="null: removed by this version"),
        sa.PrimaryKeyConstraint("kind", "id", "version", name=op.f("definition_history_pkey")),
    )
    op.create_table(
        "definition_version",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("compiled", sa.Text(), nullable=False, comment="what workers need of it, JSON text"),
        sa.Column("applied_at", types.Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("definition_version_pkey")),
    )
    op.create_table(
        "feed",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("definition_version", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("shape_fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("every_s", sa.Double(), nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("reconcile_kind", sa.Text(), nullable=False),
        sa.Column("reconcile_every_s", sa.Double(), nullable=True),
        sa.Column("saved_cursor", sa.Text(), nullable=True),
        sa.Column("saved_key", types.Json, nullable=True),
        sa.Column("lead_cursor", sa.Text(), nullable=True),
        sa.Column("lead_key", types.Json, nullable=True),
        sa.Column("fence_state", sa.Text(), nullable=True),
        sa.Column("first_stream_done", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("digests", types.Json, server_default="{}", nullable=False),
        sa.Column("reconciliation", types.Json, nullable=True, comment="the one under way"),
        sa.Column(
            "reconciliation_epoch", sa.BigInteger(), nullable=True, comment="of the lease that began it"
        ),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("class_reason", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "source_seen", sa.Text(), comment="which database was read, and what is to be noted of it; JSON"
        ),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_id", sa.Text(), nullable=True),
        sa.Column("lease_until", types.Timestamp(), nullable=True),
        sa.Column("next_due", types.Timestamp(), nullable=True, comment="null: only when asked"),
        sa.Column(
            "sent_at",
            types.Timestamp(),
            nullable=True,
            comment="a scheduler sent its nudge and nobody has claimed it yet",
        ),
        sa.Column("again", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("reconcile_wanted", sa.Text(), nullable=True),
        sa.Column("reconcile_asked_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reconcile_confirm", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reconcile_due_at", types.Timestamp(), nullable=True),
        sa.Column("checked_at", types.Timestamp(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_success_at", types.Timestamp(), nullable=True),
        sa.CheckConstraint("class IN ('exact', 'bounded', 'eventual')", name=op.f("feed_class_check")),
        sa.CheckConstraint(
            "paused_by IN ('definition', 'person', 'drift')", name=op.f("feed_paused_by_check")
        ),
        sa.CheckConstraint("reconcile_kind IN ('keys', 'full')", name=op.f("feed_reconcile_kind_check")),
        sa.CheckConstraint("reconcile_wanted IN ('keys', 'full')", name=op.f("feed_reconcile_wanted_check")),
        sa.CheckConstraint("state = 'active' OR lease_id IS NULL", name=op.f("feed_ended_check")),
        sa.CheckConstraint("state IN ('active', 'ended')", name=op.f("feed_state_check")),
        sa.CheckConstraint("(lease_id IS NULL) = (lease_until IS NULL)", name=op.f("feed_lease_check")),
        sa.CheckConstraint(
            "(reconciliation IS NULL) = (reconciliation_epoch IS NULL)",
            name=op.f("feed_reconciliation_check"),
        ),
        sa.CheckConstraint("every_s IS NULL OR cron IS NULL", name=op.f("feed_schedule_check")),
        sa.CheckConstraint("lead_key IS NULL OR lead_cursor IS NOT NULL", name=op.f("feed_lead_check")),
        sa.CheckConstraint("paused = (paused_by IS NOT NULL)", name=op.f("feed_paused_check")),
        sa.CheckConstraint("saved_key IS NULL OR saved_cursor IS NOT NULL", name=op.f("feed_saved_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("feed_pkey")),
    )
    op.create_index(
        "feed_active_key",
        "feed",
        ["source_id", "app_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "routing_version",
        sa.Column("single", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("single = 1", name=op.f("routing_version_single_check")),
        sa.PrimaryKeyConstraint("single", name=op.f("routing_version_pkey")),
    )
    op.create_table(
        "trigger_log",
        sa.Column("id", types.BigId, autoincrement=True, nullable=False),
        sa.Column("at", types.Timestamp(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("keys", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("trigger_log_pkey")),
    )
    op.create_index("trigger_log_at_idx", "trigger_log", ["at"], unique=False)
    op.create_table(
        "workspace",
        sa.Column("single", sa.Integer(), nullable=False),
        sa.Column(
            "id", sa.Text(), nullable=False, comment="names the stores and the readers of this installation"
        ),
        sa.Column("made_at", types.Timestamp(), nullable=False),
        sa.CheckConstraint("single = 1", name=op.f("workspace_single_check")),
        sa.PrimaryKeyConstraint("single", name=op.f("workspace_pkey")),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("log_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("payload_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("meta", types.Json, nullable=False),
        sa.Column("shape_fingerprint", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", types.Timestamp(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("bisection", types.Json, nullable=True, comment="how far it is taken apart"),
        sa.Column("journalled_at", types.Timestamp(), nullable=False),
        sa.Column("merged_at", types.Timestamp(), nullable=True),
        sa.CheckConstraint("(state = 'merged') = (merged_at IS NOT NULL)", name=op.f("batch_merged_check")),
        sa.CheckConstraint("kind IN ('load', 'rows', 'keys', 'drop')", name=op.f("batch_kind_check")),
        sa.CheckConstraint("state IN ('pending', 'merged')", name=op.f("batch_state_check")),
        sa.CheckConstraint("attempts >= 0", name=op.f("batch_attempts_check")),
        sa.CheckConstraint("seq > 0", name=op.f("batch_seq_check")),
        sa.ForeignKeyConstraint(
            ["data_source_id"], ["data_source.id"], name=op.f("batch_data_source_id_fkey")
        ),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("batch_feed_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
        sa.UniqueConstraint(
            "feed_id",
            "data_source_id",
            "log_id",
            "seq",
            name=op.f("batch_feed_id_data_source_id_log_id_seq_key"),
        ),
    )
    op.create_index("batch_log_idx", "batch", ["log_id", "seq"], unique=False)
    op.create_index("batch_merged_idx", "batch", ["merged_at"], unique=False)
    op.create_index(
        "batch_pending_idx",
        "batch",
        ["feed_id", "data_source_id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "binding",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.CheckConstraint("origin IN ('explicit', 'pinned_default')", name=op.f("binding_origin_check")),
        sa.CheckConstraint("state IN ('active', 'moving', 'frozen')", name=op.f("binding_state_check")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("binding_customer_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["data_source_id"], ["data_source.id"], name=op.f("binding_data_source_id_fkey")
        ),
        sa.PrimaryKeyConstraint("customer_id", "schema", name=op.f("binding_pkey")),
    )
    op.create_index(op.f("binding_data_source_id_idx"), "binding", ["data_source_id"], unique=False)
    op.create_table(
        "data_source_group",
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("visibility_group", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_source_id"],
            ["data_source.id"],
            name=op.f("data_source_group_data_source_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("data_source_id", "visibility_group", name=op.f("data_source_group_pkey")),
    )
    op.create_table(
        "default_data_source",
        sa.Column("visibility_group", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_source_id"], ["data_source.id"], name=op.f("default_data_source_data_source_id_fkey")
        ),
        sa.PrimaryKeyConstraint("visibility_group", "schema", name=op.f("default_data_source_pkey")),
    )
    op.create_table(
        "feed_log",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("log_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("merged_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("wants_reconcile", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("asked_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why the log was begun anew"),
        sa.CheckConstraint("0 <= merged_seq AND merged_seq <= seq", name=op.f("feed_log_seq_check")),
        sa.ForeignKeyConstraint(
            ["data_source_id"], ["data_source.id"], name=op.f("feed_log_data_source_id_fkey")
        ),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("feed_log_feed_id_fkey")),
        sa.PrimaryKeyConstraint("feed_id", "data_source_id", name=op.f("feed_log_pkey")),
        sa.UniqueConstraint("log_id", name=op.f("feed_log_log_id_key")),
    )
    op.create_index("feed_log_merge_idx", "feed_log", ["data_source_id", "model_id"], unique=False)
    op.create_table(
        "key_request",
        sa.Column("id", types.BigId, autoincrement=True, nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="JSON array of texts"),
        sa.Column("asked_at", types.Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("key_request_feed_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("key_request_pkey")),
        sa.UniqueConstraint("feed_id", "key", name=op.f("key_request_feed_id_key_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rejected_row",
        sa.Column("id", types.BigId, autoincrement=True, nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="JSON array of texts or nulls"),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False, comment="JSON object of the source's texts"),
        sa.Column("refused_by", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "batch_id", sa.Text(), nullable=True, comment="the batch that the data source refused it from"
        ),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("first_seen", types.Timestamp(), nullable=False),
        sa.Column("last_seen", types.Timestamp(), nullable=False),
        sa.CheckConstraint(
            "(batch_id IS NULL) = (refused_by = '')", name=op.f("rejected_row_refused_by_check")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'resolved', 'discarded')", name=op.f("rejected_row_state_check")
        ),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("rejected_row_feed_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("rejected_row_pkey")),
    )
    op.create_index("rejected_row_last_seen_idx", "rejected_row", ["last_seen"], unique=False)
    op.create_index(
        "rejected_row_open_key",
        "rejected_row",
        ["feed_id", "key", "refused_by"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_journalled", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_merged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("from_cursor", sa.Text(), nullable=True),
        sa.Column("from_key", types.Json, nullable=True),
        sa.Column("to_cursor", sa.Text(), nullable=True),
        sa.Column("to_key", types.Json, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", types.Timestamp(), nullable=False),
        sa.Column("ended_at", types.Timestamp(), nullable=True),
        sa.CheckConstraint("(state = 'running') = (ended_at IS NULL)", name=op.f("run_ended_check")),
        sa.CheckConstraint(
            "state IN ('running', 'succeeded', 'failed', 'incomplete')", name=op.f("run_state_check")
        ),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("run_feed_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("run_pkey")),
    )
    op.create_index("run_feed_idx", "run", ["feed_id", "started_at"], unique=False)
    op.create_index(
        "run_live_key",
        "run",
        ["feed_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("run_started_idx", "run", ["started_at"], unique=False)
    op.create_table(
        "batch_payload",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="Arrow IPC stream, zstd"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batch.id"], name=op.f("batch_payload_batch_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("batch_payload_pkey")),
    )

    _write_single_rows()


def _write_single_rows() -> None:
    columns: list[sa.ColumnClause[object]] = [
        sa.column("single"),
        sa.column("id"),
        sa.column("made_at", types.Timestamp()),
    ]
    made = {"single": 1, "id": str(uuid.uuid4()), "made_at": datetime.now(UTC)}
    op.bulk_insert(sa.table("workspace", *columns), [made])
    versions = sa.table("routing_version", sa.column("single"), sa.column("version"))
    op.bulk_insert(versions, [{"single": 1, "version": 1}])
