"""Members, the units that loaders share, and their fences."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

least_version = None
"""A treadle before it uses the leases, which stay; its fences go on above those of units."""


def upgrade() -> None:
    """Make the tables; the first fence of a unit is above those of all leases."""
    op.create_table(
        "members",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
    )
    op.create_index("ix_members_by_place", "members", ["place", "name"])
    op.create_table(
        "units",
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(36), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unit", name="pk_units"),
    )
    op.create_table(
        "fences",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fences"),
    )
    op.execute(
        "INSERT INTO fences (id, last, changes) SELECT 1, coalesce(max(fence), 0), 0 FROM leases"
    )
