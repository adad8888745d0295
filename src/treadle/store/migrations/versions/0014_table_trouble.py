"""What somebody should know of the last load of a table, as that all its records were rejected."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what earlier loads rejected is in their reports."""
    op.add_column("tables", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("tables", sa.Column("trouble_since", sa.BigInteger(), nullable=True))
