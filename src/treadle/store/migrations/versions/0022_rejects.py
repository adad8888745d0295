"""Rejected records by cause, operations of the server, and the uses of tokens by the hour."""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

ROWS_PER_PAGE = 1_000


def _name_table(name: str, columns: str, *, json: str = "") -> sa.TableClause:
    return sa.table(
        name,
        *(sa.column(column) for column in columns.split()),
        *(sa.column(column, sa.JSON) for column in json.split()),
    )


OUTCOMES = _name_table("outcomes", "log_id position table_id", json="rejected")
LOADS = _name_table("loads", "table_id log_id error last started_at")
TABLES = _name_table("tables", "id source_id")
SOURCES = _name_table("sources", "id account_id")
_PLACE = "log_id table_id source_id account_id code records resent"
CAUSES = _name_table(
    "reject_causes",
    f"id {_PLACE} field_key first_at last_at example example_position example_index",
)
ENTRIES = _name_table("reject_entries", f"position cause_id {_PLACE} rejected_at", json="indexes")


def upgrade() -> None:
    """Make the tables, and put what was rejected before into them, without a cause."""
    op.create_table(
        "reject_causes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("table_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("field_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("resent", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("example", sa.Text(), nullable=False),
        sa.Column("example_position", sa.BigInteger(), nullable=False),
        sa.Column("example_index", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["table_id"], ["tables.id"], name="fk_reject_causes_table_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reject_causes"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_reject_causes",
        "reject_causes",
        ["table_id", "log_id", "code", "field_key"],
        unique=True,
    )
    op.create_index("ix_reject_causes_by_time", "reject_causes", ["account_id", "last_at", "id"])
    op.create_table(
        "reject_entries",
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("table_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("resent", sa.BigInteger(), nullable=False),
        sa.Column("rejected_at", sa.BigInteger(), nullable=False),
        sa.Column("indexes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "position", "cause_id", name="pk_reject_entries"),
    )
    for name, columns in (
        ("cause", ["cause_id", "position"]),
        ("table", ["table_id", "log_id", "position"]),
        ("source", ["source_id", "log_id", "position"]),
        ("account", ["account_id", "log_id", "position"]),
    ):
        op.create_index(f"ix_reject_entries_by_{name}", "reject_entries", columns)
    op.create_table(
        "resent_records",
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("record", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("resent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "position", "record", name="pk_resent_records"),
    )
    op.create_table(
        "server_operations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("holder", sa.String(length=36), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_server_operations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_server_operations_by_account", "server_operations", ["account_id", "id"])
    op.add_column("access_tokens", sa.Column("disabled_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "access_tokens",
        sa.Column("refused", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("access_tokens", sa.Column("refused_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "token_hours",
        sa.Column("token_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["access_tokens.id"], name="fk_token_hours_token_id"),
        sa.PrimaryKeyConstraint("token_id", "hour", name="pk_token_hours"),
    )
    op.create_index("ix_token_hours_hour", "token_hours", ["hour"])
    _copy_outcomes()


def _copy_outcomes() -> None:
    connection = op.get_bind()
    causes: dict[tuple[str, int], dict[str, Any]] = {}
    at: tuple[str, int] = ("", -1)
    while rows := connection.execute(_select_page(at)).all():
        for row in rows:
            _copy_outcome(connection, causes, row)
        at = rows[-1].log_id, rows[-1].position
    for cause in causes.values():
        values = {name: value for name, value in cause.items() if name != "id"}
        connection.execute(sa.update(CAUSES).where(CAUSES.c.id == cause["id"]).values(values))


def _select_page(after: tuple[str, int]) -> sa.Select[Any]:
    """Return the next outcomes with rejected records, each with the time of its load."""
    log_id, position = after
    began = (
        sa.select(LOADS.c.started_at)
        .where(
            LOADS.c.table_id == OUTCOMES.c.table_id,
            LOADS.c.log_id == OUTCOMES.c.log_id,
            LOADS.c.error.is_(None),
            LOADS.c.last >= OUTCOMES.c.position,
        )
        .order_by(LOADS.c.last)
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(
            OUTCOMES,
            TABLES.c.source_id,
            SOURCES.c.account_id,
            sa.func.coalesce(began, 0).label("began"),
        )
        .join(TABLES, TABLES.c.id == OUTCOMES.c.table_id)
        .join(SOURCES, SOURCES.c.id == TABLES.c.source_id)
        .where(
            sa.cast(OUTCOMES.c.rejected, sa.Text) != "[]",
            sa.or_(
                OUTCOMES.c.log_id > log_id,
                sa.and_(OUTCOMES.c.log_id == log_id, OUTCOMES.c.position > position),
            ),
        )
        .order_by(OUTCOMES.c.log_id, OUTCOMES.c.position)
        .limit(ROWS_PER_PAGE)
    )


def _copy_outcome(
    connection: sa.Connection, causes: dict[tuple[str, int], dict[str, Any]], row: sa.Row[Any]
) -> None:
    """Count the rejected records of an entry to the cause of its table."""
    place = {
        "log_id": row.log_id,
        "table_id": row.table_id,
        "source_id": row.source_id,
        "account_id": row.account_id,
        "code": "unknown",
    }
    cause = causes.get((row.log_id, row.table_id))
    if cause is None:
        cause = {"records": 0, "first_at": row.began, "last_at": row.began}
        cause["id"] = connection.execute(
            sa.insert(CAUSES)
            .values(
                **place,
                field_key=hashlib.sha256(b"").digest(),
                records=0,
                resent=0,
                first_at=0,
                last_at=0,
                example="",
                example_position=0,
                example_index=0,
            )
            .returning(CAUSES.c.id)
        ).scalar_one()
        causes[row.log_id, row.table_id] = cause
    newest, reason = row.rejected[-1][:2]
    cause["records"] += len(row.rejected)
    cause["first_at"] = min(cause["first_at"], row.began)
    cause["last_at"] = max(cause["last_at"], row.began)
    cause |= {
        "example": reason[:500].replace("\x1a", "").replace("\0", ""),
        "example_position": row.position,
        "example_index": newest,
    }
    connection.execute(
        sa.insert(ENTRIES).values(
            **place,
            position=row.position,
            cause_id=cause["id"],
            records=len(row.rejected),
            resent=0,
            rejected_at=row.began,
            indexes=[one[0] for one in row.rejected],
        )
    )
