"""Where the entries of a table begin, and when it was rebuilt from them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both; nothing is known of the tables there are."""
    op.add_column("tables", sa.Column("began", sa.BigInteger(), nullable=True))
    op.add_column("tables", sa.Column("rebuilt_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Remove both."""
    op.drop_column("tables", "rebuilt_at")
    op.drop_column("tables", "began")
