"""The last move of each source to another destination."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; of moves before it nothing is known, and nothing is open."""
    op.create_table(
        "source_moves",
        sa.Column("source_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("former_id", sa.BigInteger(), nullable=True),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_source_moves_source_id"),
        sa.ForeignKeyConstraint(
            ["former_id"], ["destinations.id"], name="fk_source_moves_former_id"
        ),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name="fk_source_moves_destination_id"
        ),
        sa.PrimaryKeyConstraint("source_id", name="pk_source_moves"),
    )
