"""The columns of tables; tokens that open the console once, its sessions, owners of accounts.

The columns of a table are filled in by its next load, which knows them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "kept_columns",
        sa.Column("table_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_fields", sa.JSON(), nullable=False),
        sa.Column("relations", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["table_id"], ["tables.id"], name="fk_kept_columns_table_id"),
        sa.PrimaryKeyConstraint("table_id", name="pk_kept_columns"),
    )
