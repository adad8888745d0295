"""What became of records, counted for ever."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTS = ("received", "written", "discarded", "rejected", "damaged", "loads", "failures")


def upgrade() -> None:
    """Add the counts, which begin with what the reports that are kept add up to."""
    for name in COUNTS:
        op.add_column(
            "tables", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
    committed = "FROM loads WHERE loads.table_id = tables.id AND loads.error IS NULL"
    op.execute(
        f"UPDATE tables SET"  # noqa: S608 - made of constants
        f" received = (SELECT coalesce(sum(rows_received), 0) {committed}),"
        f" written = (SELECT coalesce(sum(rows_loaded), 0) {committed}),"
        f" discarded = (SELECT coalesce(sum(rows_discarded), 0) {committed}),"
        f" rejected = (SELECT coalesce(sum(rows_rejected), 0) {committed}),"
        f" loads = (SELECT count(*) {committed})"
    )


def downgrade() -> None:
    """Remove the counts."""
    for name in COUNTS:
        op.drop_column("tables", name)
