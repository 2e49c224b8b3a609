"""Where customers' rows are, and the moves that change it."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Text

from headrace.control.metadata import count, flag, metadata, one_of, partial
from headrace.control.types import Json, Timestamp


class MoveState(StrEnum):
    READING = "reading"
    """Feeds read the customer's rows for the new data source; new rows go to both."""
    MOVED = "moved"
    CANCELLED = "cancelled"


_CUSTOMER, _DATA_SOURCE = "customer.id", "data_source.id"

residence = sa.Table(
    "residence",
    metadata,
    Column("customer_id", ForeignKey(_CUSTOMER, ondelete="CASCADE"), primary_key=True),
    Column("schema", Text, primary_key=True),
    Column("data_source_id", ForeignKey(_DATA_SOURCE), nullable=False),
    Column(
        "provided_id", Text, nullable=False, comment="the customer's, which tells its records apart there"
    ),
    flag("awaits_drop"),  # when it came there, records of another one of its name were still to be dropped
    sa.UniqueConstraint("data_source_id", "provided_id"),
    comment="The data source that rows of a customer were journalled to: written with the first of them. "
    "No change of routing may lead the customer elsewhere without moving them.",
)

left_behind = sa.Table(
    "left_behind",
    metadata,
    Column("data_source_id", ForeignKey(_DATA_SOURCE, ondelete="CASCADE"), primary_key=True),
    Column("provided_id", Text, primary_key=True),
    Column("customer_id", ForeignKey(_CUSTOMER, ondelete="CASCADE"), nullable=False, index=True),
    comment="Where a customer that was switched elsewhere has left its records: nobody else of that "
    "provided_id may come there and find them.",
)

move = sa.Table(
    "move",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", ForeignKey(_CUSTOMER, ondelete="CASCADE"), nullable=False),
    Column("schema", Text, nullable=False),
    Column("from_id", ForeignKey(_DATA_SOURCE, ondelete="CASCADE"), nullable=False),
    Column("to_id", ForeignKey(_DATA_SOURCE, ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False),
    flag("made_binding"),  # the customer had none of its own before
    flag("dated"),  # the records in the new data source have the creation times of the old one
    Column("actor", Text, nullable=False),
    Column("started_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    one_of("state", (s.value for s in MoveState)),
    CheckConstraint("from_id <> to_id", name="ends"),
    CheckConstraint("(state = 'reading') = (ended_at IS NULL)", name="ended"),
    partial("move_live_key", "customer_id", "schema", where="state = 'reading'", unique=True),
    Index("move_to_idx", "to_id"),
)

move_feed = sa.Table(
    "move_feed",
    metadata,
    Column("move_id", ForeignKey("move.id", ondelete="CASCADE"), primary_key=True),
    Column("feed_id", ForeignKey("feed.id"), primary_key=True, index=True),
    Column("after_key", Json, comment="the source's text of the last key that is journalled"),
    flag("done"),
    count("rows"),
)
