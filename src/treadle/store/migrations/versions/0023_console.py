"""The role that a link opens, when a session was last used, and who has left the guide."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; a session of an earlier release was last used at its start."""
    op.add_column(
        "ephemeral_tokens",
        sa.Column("role", sa.String(length=16), server_default="operator", nullable=False),
    )
    op.add_column(
        "browser_sessions",
        sa.Column("last_seen_at", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.execute("UPDATE browser_sessions SET last_seen_at = created_at")
    op.create_table(
        "left_guides",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("left_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_left_guides_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_left_guides")),
    )
