"""Who said where a destination is, since when, and its description."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the next start sets every destination as earlier releases did."""
    op.add_column("destinations", sa.Column("description", sa.Text(), nullable=True))
    op.add_column(
        "destinations",
        sa.Column("set_by", sa.String(length=8), server_default="folder", nullable=False),
    )
    op.add_column("destinations", sa.Column("placed_at", sa.BigInteger(), nullable=True))
