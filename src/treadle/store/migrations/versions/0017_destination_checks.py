"""Checks of destinations, and the time since which a destination is loaded into.

Destinations that are there were loaded into without a check, and go on so.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "destination_checks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("phases", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["destinations.id"], name="fk_destination_checks_destination_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_destination_checks"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_destination_checks_destination_id", "destination_checks", ["destination_id"]
    )
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_destination_checks_open",
        "destination_checks",
        ["requested_at"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.add_column("destinations", sa.Column("usable_since", sa.BigInteger(), nullable=True))
    op.execute("UPDATE destinations SET usable_since = created_at")
