"""Who may ask for what, and what was asked: tokens, the keys that sign customers' tokens, the audit."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Text

from headrace.control.metadata import metadata, one_of, partial
from headrace.control.types import BigId, Json, Timestamp

api_token = sa.Table(
    "api_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("visibility_group", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("access", Text, nullable=False),
    Column("made_at", Timestamp, nullable=False),
    Column("last_used_at", Timestamp),
    Column("revoked_at", Timestamp),
    one_of("access", ("read", "write")),
)

audit = sa.Table(
    "audit",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("actor", Text, nullable=False),
    Column("token_id", Text),
    Column("visibility_group", Text, comment="null: of no group alone"),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("customer", Text),
    Column("schema", Text),
    Column("data_source_id", Text),
    Column("epoch", Integer),
    Column("via", Text),
    Column("detail", Json, nullable=False, server_default="{}"),
    Index("audit_at_idx", "at"),
    Index("audit_group_idx", "visibility_group", "id"),
)

signing_key = sa.Table(
    "signing_key",
    metadata,
    Column("id", Text, primary_key=True, comment="the kid of the tokens that it signs"),
    Column("visibility_group", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False, comment="encrypted"),
    Column("state", Text, nullable=False),
    Column("made_at", Timestamp, nullable=False),
    one_of("state", ("active", "verify_only", "revoked")),
    partial("signing_key_active_key", "visibility_group", where="state = 'active'", unique=True),
)

data_source_secret = sa.Table(
    "data_source_secret",
    metadata,
    Column("data_source_id", ForeignKey("data_source.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed_url", LargeBinary, nullable=False, comment="encrypted: of those that the API made"),
)
