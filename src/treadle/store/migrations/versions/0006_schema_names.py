"""The name of a source's schema where it differs from the name of the source.

Sources that were made before have schemas of their own names.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, which is empty."""
    op.add_column("sources", sa.Column("schema_name", sa.String(length=63), nullable=True))
