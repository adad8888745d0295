"""The role that runs the statements of an account in a destination."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no destination has such a role yet."""
    op.add_column("destinations", sa.Column("query_url", sa.LargeBinary(), nullable=True))
