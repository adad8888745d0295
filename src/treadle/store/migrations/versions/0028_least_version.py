"""The oldest treadle that may open the store."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

least_version = None
"""A treadle that knows of this column may open the store; those before refuse every newer one."""


def upgrade() -> None:
    """Add a column."""
    op.add_column(
        "meta", sa.Column("least_version", sa.String(32), server_default="", nullable=False)
    )
