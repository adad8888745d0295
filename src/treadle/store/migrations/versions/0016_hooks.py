"""Post-load hooks, and the outbox of their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "hooks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("url", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger()),
        sa.Column("paused_at", sa.BigInteger()),
        sa.Column("delivered", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_hooks_account_id"),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name="fk_hooks_destination_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_hooks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_hooks_account_id", "hooks", ["account_id"])
    op.create_index("ix_hooks_destination_id", "hooks", ["destination_id"])
    op.create_table(
        "deliveries",
        sa.Column("number", _ID, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("hook_id", sa.BigInteger(), nullable=False),
        sa.Column("table_id", sa.BigInteger(), nullable=False),
        sa.Column("load_id", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("took_us", sa.BigInteger()),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(["hook_id"], ["hooks.id"], name="fk_deliveries_hook_id"),
        sa.ForeignKeyConstraint(["table_id"], ["tables.id"], name="fk_deliveries_table_id"),
        sa.PrimaryKeyConstraint("number", name="pk_deliveries"),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["hook_id", "table_id", "number"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_deliveries_by_hook", "deliveries", ["hook_id", "number"])
    op.create_index("ix_deliveries_by_time", "deliveries", ["created_at"])
