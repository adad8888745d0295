"""What is known of tables without their destination: times of columns, left-out fields, history.

Loads get their account and source, so that lists of them need no join, and how long records waited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_CONDITIONS = {"failed_": "error IS NOT NULL", "changed_": "schema_changes > 0"}


def upgrade() -> None:
    """Add tables, columns and indexes, and fill in what earlier releases noted."""
    op.add_column("tables", sa.Column("version", sa.BigInteger(), nullable=True))
    op.add_column("tables", sa.Column("mode", sa.String(length=6), nullable=True))
    op.add_column("kept_columns", sa.Column("seen", sa.JSON(), nullable=True))
    op.add_column("kept_columns", sa.Column("left_out", sa.JSON(), nullable=True))
    op.create_table(
        "schema_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("table_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("load_id", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["table_id"], ["tables.id"], name="fk_schema_events_table_id"),
        sa.PrimaryKeyConstraint("id", name="pk_schema_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_schema_events_by_table", "schema_events", ["table_id", "id"])
    op.create_index("ix_schema_events_by_account", "schema_events", ["account_id", "id"])
    op.create_table(
        "load_requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_load_requests_source_id"),
        sa.PrimaryKeyConstraint("id", name="pk_load_requests"),
        sqlite_autoincrement=True,
    )
    for name in ("account_id", "source_id"):
        op.add_column("loads", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(
        "loads", sa.Column("schema_changes", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("loads", sa.Column("waited_max_us", sa.BigInteger(), nullable=True))
    op.add_column("loads", sa.Column("waited_p50_us", sa.BigInteger(), nullable=True))
    _fill_loads()
    op.drop_index("ix_loads_by_table", "loads")
    for name in ("account", "source", "table"):
        for prefix, condition in {"": None, **_CONDITIONS}.items():
            where = None if condition is None else sa.text(condition)
            op.create_index(
                f"ix_loads_{prefix}by_{name}",
                "loads",
                [f"{name}_id", "finished_at", "number"],
                sqlite_where=where,
                postgresql_where=where,
            )


def _fill_loads() -> None:
    """Fill in whose the loads are, and how many columns they added or renamed."""
    if op.get_bind().dialect.name == "sqlite":
        added, renamed = (
            f"coalesce(json_array_length(details, '$.{name}'), 0)"
            for name in ("columns_added", "columns_renamed")
        )
    else:
        added, renamed = (
            f"coalesce(json_array_length(details -> '{name}'), 0)"
            for name in ("columns_added", "columns_renamed")
        )
    op.execute(
        f"""
        UPDATE loads SET
            source_id = (SELECT source_id FROM tables WHERE tables.id = loads.table_id),
            account_id = (
                SELECT sources.account_id
                FROM tables JOIN sources ON sources.id = tables.source_id
                WHERE tables.id = loads.table_id
            ),
            schema_changes = {added} + {renamed}
        """  # noqa: S608 - no value from elsewhere
    )
