"""Access tokens of all kinds in one table, with one life.

Import tokens keep their ids, which clients know. Account tokens get new ones above them; until here
nothing showed their ids.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, fill it from the two that it replaces, and remove those."""
    op.create_table(
        "access_tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("last_four", sa.String(length=4), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tables", sa.JSON(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("bootstrap", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("first_used_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_from", sa.Text(), nullable=True),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_access_tokens_account_id"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_access_tokens_source_id"),
        sa.PrimaryKeyConstraint("id", name="pk_access_tokens"),
        sa.UniqueConstraint("sha256", name="uq_access_tokens_sha256"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_access_tokens_account_id", "access_tokens", ["account_id"])
    op.create_index("ix_access_tokens_source_id", "access_tokens", ["source_id"])
    _move_import_tokens()
    _move_account_tokens()
    op.drop_table("tokens")
    op.drop_table("account_tokens")


def _move_import_tokens() -> None:
    """Copy import tokens with their ids. Their last four characters are encrypted with them."""
    op.execute(
        """
        INSERT INTO access_tokens (id, kind, account_id, source_id, sha256, sealed, description,
            tables, bootstrap, created_at, created_by, first_used_at, last_used_at, uses,
            revoked_at)
        SELECT tokens.id, 'import', sources.account_id, source_id, sha256, sealed, '',
            '[]', bootstrap, tokens.created_at, '', first_used_at, last_used_at, uses,
            revoked_at
        FROM tokens JOIN sources ON sources.id = tokens.source_id
        """
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('access_tokens', 'id'), max(id)) FROM tokens"
        )


def _move_account_tokens() -> None:
    op.execute(
        """
        INSERT INTO access_tokens (kind, account_id, sha256, last_four, description,
            tables, bootstrap, created_at, created_by, uses, revoked_at)
        SELECT 'account', account_id, sha256, last_four, description,
            '[]', false, created_at, '', 0, disabled_at
        FROM account_tokens ORDER BY id
        """
    )
