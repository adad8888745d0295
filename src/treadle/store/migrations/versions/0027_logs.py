"""The logs of the installation, and the log of each source."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the log that was the only one the first, and put all sources on it."""
    op.create_table(
        "logs",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("log_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_logs"),
        sa.UniqueConstraint("log_id", name="uq_logs_log_id"),
    )
    op.execute(
        "INSERT INTO logs (number, log_id, kind, state, made_at) "
        "SELECT 0, log_id, 'sqlite', 'open', 0 FROM meta"
    )
    op.add_column(
        "sources", sa.Column("log", sa.SmallInteger(), server_default="0", nullable=False)
    )
