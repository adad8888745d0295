"""The columns of tables; tokens that open the console once, its sessions, owners of accounts.

The columns of a table are filled in by its next load, which knows them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
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
    op.create_table(
        "account_owners",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_account_owners_account_id"
        ),
        sa.PrimaryKeyConstraint("account_id", name="pk_account_owners"),
        sa.UniqueConstraint("email_sha256", name="uq_account_owners_email_sha256"),
    )
    for name, more in (
        ("ephemeral_tokens", [_time("expires_at"), _time("used_at", nullable=True)]),
        (
            "browser_sessions",
            [
                sa.Column("role", sa.String(length=16), nullable=False),
                sa.Column("opened_from", sa.Text(), nullable=False),
                _time("expires_at"),
            ],
        ),
    ):
        op.create_table(
            name,
            sa.Column("id", _ID, nullable=False),
            sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
            sa.Column("account_id", sa.BigInteger(), nullable=False),
            sa.Column("token_id", sa.BigInteger(), nullable=False),
            _time("created_at"),
            *more,
            sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{name}_account_id"),
            sa.ForeignKeyConstraint(["token_id"], ["access_tokens.id"], name=f"fk_{name}_token_id"),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            sa.UniqueConstraint("sha256", name=f"uq_{name}_sha256"),
            sqlite_autoincrement=True,
        )
        op.create_index(f"ix_{name}_account_id", name, ["account_id"])


def _time(name: str, *, nullable: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
