"""Loads by time, how far their reports are folded, and when an account was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two indexes of few rows, and two columns; the loader folds the reports that are there."""
    for name, condition in (("failed", "error IS NOT NULL"), ("rejecting", "rows_rejected > 0")):
        op.create_index(
            f"ix_loads_{name}_by_time",
            "loads",
            ["finished_at", "number"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.add_column(
        "meta", sa.Column("folded_until", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("accounts", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
