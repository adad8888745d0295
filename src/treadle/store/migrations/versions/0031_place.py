"""The database that the last load of each table went into."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

least_version = None
"""A treadle before it loads without saying where: what the table says then is of an earlier load,
by which nothing is loaded again that the destination has."""


def upgrade() -> None:
    """Add a column; of what was loaded before, nobody noted it."""
    op.add_column("tables", sa.Column("place_sha256", sa.LargeBinary(32), nullable=True))
