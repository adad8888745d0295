"""The form of entries that members write."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

least_version = None
"""A treadle before it writes and reads the first form, which is the one in force."""


def upgrade() -> None:
    """Add a column."""
    op.add_column("meta", sa.Column("form", sa.Integer(), server_default="1", nullable=False))
