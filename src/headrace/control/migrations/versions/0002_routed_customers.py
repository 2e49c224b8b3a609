"""Where customers' rows are, their moves, and what signs their tokens and is kept secret."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

from headrace.control import types

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _add_moving()
    # SQLite's own ADD COLUMN would leave a definition that reads otherwise than that of a new table.
    anew: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("audit", recreate=anew) as table:
        table.add_column(
            sa.Column("visibility_group", sa.Text(), nullable=True, comment="null: of no group alone")
        )
    op.create_index("audit_group_idx", "audit", ["visibility_group", "id"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("id", sa.Text(), nullable=False, comment="the kid of the tokens that it signs"),
        sa.Column("visibility_group", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False, comment="encrypted"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("made_at", types.Timestamp(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'verify_only', 'revoked')", name=op.f("signing_key_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("signing_key_pkey")),
    )
    op.create_index(
        "signing_key_active_key",
        "signing_key",
        ["visibility_group"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "data_source_secret",
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column(
            "sealed_url",
            sa.LargeBinary(),
            nullable=False,
            comment="encrypted: of those that the API made",
        ),
        sa.ForeignKeyConstraint(
            ["data_source_id"],
            ["data_source.id"],
            name=op.f("data_source_secret_data_source_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("data_source_id", name=op.f("data_source_secret_pkey")),
    )
    _make_residence()
    _make_moves()


def _add_moving() -> None:
    with op.batch_alter_table("binding") as table:
        table.drop_constraint(op.f("binding_state_check"), type_="check")
        table.add_column(
            sa.Column("moving_to", sa.Text(), nullable=True, comment="rows are journalled there too")
        )
        table.create_foreign_key(op.f("binding_moving_to_fkey"), "data_source", ["moving_to"], ["id"])
        table.create_check_constraint(op.f("binding_state_check"), "state IN ('active', 'moving')")
        table.create_check_constraint(
            op.f("binding_moving_check"), "(state = 'moving') = (moving_to IS NOT NULL)"
        )
    op.create_index("binding_moving_to_idx", "binding", ["moving_to"], unique=False)


def _make_residence() -> None:
    op.create_table(
        "residence",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column(
            "provided_id",
            sa.Text(),
            nullable=False,
            comment="the customer's, which tells its records apart there",
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["customer.id"],
            name=op.f("residence_customer_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["data_source_id"], ["data_source.id"], name=op.f("residence_data_source_id_fkey")
        ),
        sa.PrimaryKeyConstraint("customer_id", "schema", name=op.f("residence_pkey")),
        sa.UniqueConstraint(
            "data_source_id", "provided_id", name=op.f("residence_data_source_id_provided_id_key")
        ),
        comment="The data source that rows of a customer were journalled to: written with the first of "
        "them. No change of routing may lead the customer elsewhere without moving them.",
    )


def _make_moves() -> None:
    op.create_table(
        "move",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("from_id", sa.Text(), nullable=False),
        sa.Column("to_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("made_binding", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("dated", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", types.Timestamp(), nullable=False),
        sa.Column("ended_at", types.Timestamp(), nullable=True),
        sa.CheckConstraint("from_id <> to_id", name=op.f("move_ends_check")),
        sa.CheckConstraint("(state = 'reading') = (ended_at IS NULL)", name=op.f("move_ended_check")),
        sa.CheckConstraint("state IN ('reading', 'moved', 'cancelled')", name=op.f("move_state_check")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("move_customer_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["from_id"], ["data_source.id"], name=op.f("move_from_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["to_id"], ["data_source.id"], name=op.f("move_to_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("move_pkey")),
    )
    op.create_index(
        "move_live_key",
        "move",
        ["customer_id", "schema"],
        unique=True,
        sqlite_where=sa.text("state = 'reading'"),
        postgresql_where=sa.text("state = 'reading'"),
    )
    op.create_index("move_to_idx", "move", ["to_id"], unique=False)
    op.create_table(
        "move_feed",
        sa.Column("move_id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column(
            "after_key",
            types.Json,
            nullable=True,
            comment="the source's text of the last key that is journalled",
        ),
        sa.Column("done", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feed.id"], name=op.f("move_feed_feed_id_fkey")),
        sa.ForeignKeyConstraint(
            ["move_id"], ["move.id"], name=op.f("move_feed_move_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("move_id", "feed_id", name=op.f("move_feed_pkey")),
    )
    op.create_index("move_feed_feed_id_idx", "move_feed", ["feed_id"], unique=False)
