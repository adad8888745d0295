"""Loads into Redshift: files and INSERT, the lock, errors that only Redshift has, questions."""

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from pyarrow.fs import FileSelector
from tests.integration.destinations.questions import ask, asked
from tests.integration.destinations.test_rehearsal import phases, rehearse
from tests.servers.redshift_gate import DETAIL

from treadle.destinations.asking import StatementFaultError, ValueForm
from treadle.destinations.conformance.builders import (
    ORDERS,
    TableLoads,
    relation,
    table,
    upsert,
)
from treadle.destinations.conformance.planning import LOG, NOW, prepared
from treadle.destinations.planning import execute_accepted
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    RowRefusedError,
)
from treadle.destinations.redshift_form import RedshiftUrl
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, CreateRelation, OffsetCommit
from treadle.tables.profiles import REDSHIFT

if TYPE_CHECKING:
    from tests.servers.redshift_gate import RedshiftGate

    from treadle.destinations.protocol import Session

pytestmark = pytest.mark.release
MANY = [(number, 1, f"text {number}") for number in range(400)]
"""Rows that are copied from a file."""


def load_orders(session: "Session") -> TableLoads:
    """Load the first order; returns what loads further ones."""
    session.prepare("web")
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    return loads


def list_files(gate: "RedshiftGate", url: str) -> list[str]:
    folder = RedshiftUrl.parse(url).parameters["s3"]
    found = gate.store.get_file_info(FileSelector(folder, allow_not_found=True))
    return [one.path for one in found]


def test_many_rows_are_copied_and_few_inserted(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        assert not [one for one in redshift_gate.statements if one.startswith("COPY")]
        loads.load(table(ORDERS), upsert(MANY))
        [copied] = [one for one in redshift_gate.statements if one.startswith("COPY")]
        assert copied.startswith('COPY "treadle_1_1" FROM \'s3://lake/')
        assert copied.endswith(
            ".parquet' IAM_ROLE 'arn:aws:iam::000000000000:role/load' FORMAT AS PARQUET"
        )
        assert list_files(redshift_gate, redshift_url) == []
        # The order of before has an equal sequence, and stays.
        assert loads.read("SELECT count(*), min(a) FROM web.orders") == [(400, "text 0")]
        assert loads.read("SELECT a FROM web.orders WHERE id = 1") == [("x",)]
        again = loads.load(table(ORDERS), upsert(MANY))
        assert sum(again.superseded.values()) == 400


def test_without_a_place_in_s3_all_rows_are_inserted(redshift_gate: "RedshiftGate") -> None:
    rows = [(number, 1, "y") for number in range(25_000)]
    with redshift_gate.lend(copies=False) as url, make_destination(url).open() as session:
        loads = load_orders(session)
        loads.load(table(ORDERS), upsert(rows))
        assert loads.read("SELECT count(*) FROM web.orders") == [(25_000,)]
        asked_for = redshift_gate.statements
    assert not [one for one in asked_for if one.startswith("COPY")]
    assert sum(one.startswith('INSERT INTO "treadle_') for one in asked_for) >= 3


def test_few_long_texts_are_copied_and_inserted_in_pieces(redshift_gate: "RedshiftGate") -> None:
    rows = [(number, 2, "z" * 60_000) for number in range(100)]
    for copies, copied, inserted in ((True, 1, 0), (False, 0, 6)):
        with (
            redshift_gate.lend(copies=copies) as url,
            make_destination(url).open() as session,
        ):
            loads = load_orders(session)
            loads.load(table(ORDERS), upsert(rows))
            asked_for = redshift_gate.statements
            assert loads.read("SELECT count(*), min(length(a)) FROM web.orders") == [(100, 60_000)]
        assert sum(one.startswith("COPY") for one in asked_for) == copied
        assert sum(one.startswith('INSERT INTO "treadle_') for one in asked_for) >= inserted


def test_a_load_that_fails_leaves_no_file_and_no_stage(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        redshift_gate.refuse_next("^UPDATE", "XX000", "1023", "Serializable isolation violation")
        with pytest.raises(DestinationUnavailableError, match="1023"):
            loads.load(table(ORDERS), upsert(MANY))
        assert list_files(redshift_gate, redshift_url) == []
        loads.load(table(ORDERS), upsert(MANY))
        assert loads.read("SELECT count(*) FROM pg_class WHERE relname LIKE 'treadle%'") == [(0,)]
        assert loads.read("SELECT count(*) FROM web.orders") == [(400,)]


def test_a_lock_that_keeps_all_tables_from_a_load_is_of_no_table_alone(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        redshift_gate.refuse_next("^LOCK", "57014", "Query cancelled on user's request")
        with pytest.raises(DestinationUnavailableError, match="the offsets of all tables") as fault:
            loads.load(table(ORDERS), upsert(MANY))
        assert type(fault.value) is DestinationUnavailableError
        loads.load(table(ORDERS), upsert(MANY))


def test_a_role_that_the_cluster_may_not_take_is_told(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url.replace("role/load", "role/denied")).open() as session:
        loads = load_orders(session)
        with pytest.raises(AccessDeniedError, match="not authorized to assume IAM Role"):
            loads.load(table(ORDERS), upsert(MANY))
        assert loads.orders() == [(1, "x", 1)]


def test_a_file_that_redshift_does_not_take_stops_its_table_alone(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    context = "File 'https://s3.amazonaws.com/lake/f.parquet' has an incompatible Parquet schema"
    detail = DETAIL.format(error="Spectrum Scan Error", code=15007, context=context)
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        redshift_gate.refuse_next("^COPY", "XX000", "Spectrum Scan Error", detail)
        with pytest.raises(TableStoppedError, match=r"Spectrum Scan Error: File .* incompatible"):
            loads.load(table(ORDERS), upsert(MANY))
        loads.load(table(ORDERS), upsert(MANY))
        assert loads.read("SELECT count(*) FROM web.orders") == [(400,)]


def test_an_object_store_that_refuses_is_told(redshift_url: str) -> None:
    wrong = redshift_url.replace("s3.secret-access-key=", "s3.secret-access-key=wrong")
    with make_destination(wrong).open() as session:
        loads = load_orders(session)
        with pytest.raises(
            AccessDeniedError, match="the object store refused a file in s3://lake/"
        ):
            loads.load(table(ORDERS), upsert(MANY))
        assert loads.orders() == [(1, "x", 1)]
    found = rehearse(wrong, "web")
    assert phases(found)[-1][1]
    assert "allow s3:PutObject" in (found.fault or "")


def test_a_text_that_a_narrowed_column_does_not_hold_is_refused(redshift_url: str) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        loads.read("ALTER TABLE web.orders ALTER COLUMN a TYPE varchar(3)")
        with pytest.raises(
            RowRefusedError, match=r"Value too long for type character varying\(3\)"
        ):
            loads.load(table(ORDERS), upsert([(2, 1, "four")]))
        loads.load(table(ORDERS), upsert([(2, 1, "two")]))
        assert loads.orders() == [(1, "x", 1), (2, "two", 1)]


def test_the_record_that_a_narrowed_column_does_not_hold_is_rejected_alone(
    redshift_url: str,
) -> None:
    first = prepared(REDSHIFT, 1, (1, {"id": 1, "a": "x"}))
    later = prepared(
        REDSHIFT, 2, (2, {"id": 2, "a": "two"}), (3, {"id": 3, "a": "four"}), (4, {"id": 4})
    )
    with make_destination(redshift_url).open() as session:
        execute_accepted(session, first, offset=OffsetCommit(LOG, 1, "t", -1, 1), now=NOW)
        session.query("ALTER TABLE web.t ALTER COLUMN a TYPE varchar(3)")
        _, plan, _ = execute_accepted(
            session, later, offset=OffsetCommit(LOG, 1, "t", 1, 2), now=NOW
        )
        found = session.query("SELECT id, a FROM web.t ORDER BY id").rows
        assert found == [(1, "x"), (2, "two"), (4, None)]
        [rejection] = plan.rejections
        assert "Value too long for type character varying(3)" in rejection.reason


def test_a_connection_that_breaks_at_commit_leaves_it_unknown(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        redshift_gate.cut_before("COMMIT")
        with pytest.raises(CommitUnknownError, match="Amazon Redshift broke during COMMIT"):
            loads.load(table(ORDERS), upsert([(1, 2, "y")]))
    with make_destination(redshift_url).open() as session:
        assert TableLoads(session).orders() == [(1, "x", 1)]


def test_one_session_loads_at_a_time_and_readers_go_on(redshift_url: str) -> None:
    with make_destination(redshift_url).open() as ours, make_destination(redshift_url).open() as it:
        loads = load_orders(ours)
        with psycopg.connect(RedshiftUrl.parse(redshift_url).format_libpq()) as other:
            other.execute("LOCK TABLE _treadle.positions")
            thread = threading.Thread(target=loads.load, args=(table(ORDERS), upsert(MANY)))
            thread.start()
            assert it.query("SELECT count(*) FROM web.orders").rows == [(1,)]
            thread.join(0.2)
            assert thread.is_alive()
            other.rollback()
            thread.join(30)
        assert it.query("SELECT count(*) FROM web.orders").rows == [(400,)]


def test_the_lock_is_the_first_statement_of_a_load(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    with make_destination(redshift_url).open() as session:
        load_orders(session).load(table(ORDERS), upsert([(1, 2, "y")]))
    asked_for = redshift_gate.statements
    begun = len(asked_for) - asked_for[::-1].index("BEGIN")
    assert asked_for[begun] == 'LOCK TABLE "_treadle"."positions"'


def test_the_entry_of_a_wide_table_is_packed(redshift_url: str) -> None:
    names = [f"a_rather_long_name_of_a_column_{number:04}" for number in range(900)]
    wide = relation("orders", {"id": ColumnType.BIGINT, **dict.fromkeys(names, ColumnType.TEXT)})
    with make_destination(redshift_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        write = upsert([(1, 1, "x")], ("id", "_sdc_sequence", names[0]), wide)
        loads.load(table(wide), write, changes=[CreateRelation(wide)])
        found = session.state("web", "orders")
        assert found.table is not None
        assert {each.name for each in found.table.relations[0].columns} >= set(names)
        [(held,)] = loads.read("SELECT document FROM _treadle.catalogue")
        assert held.startswith("deflate:")
        assert len(held) < 65_535


def test_a_plan_shows_what_a_load_runs(redshift_gate: "RedshiftGate", redshift_url: str) -> None:
    with make_destination(redshift_url).open() as session:
        loads = load_orders(session)
        wider = relation(
            "orders", {"id": ColumnType.BIGINT, "a": ColumnType.TEXT, "o": ColumnType.JSON}
        )
        added = [
            AddColumn("orders", Column("b", "b", ColumnType.DECIMAL)),
            AddColumn("orders", Column("o", "o", ColumnType.JSON)),
        ]
        shown = session.ddl(loads.plan(table(wider), changes=added))
        assert shown == [
            'ALTER TABLE "web"."orders" ADD COLUMN "b" decimal(38,9)',
            'ALTER TABLE "web"."orders" ADD COLUMN "o" varchar(65535)',
            'COMMENT ON COLUMN "web"."orders"."o" IS \'json\'',
        ]
        loads.load(table(wider), changes=added)
        asked_for = redshift_gate.statements
        assert [one for one in asked_for if one in shown] == shown
        assert session.state("web", "orders").physical["orders"].columns["o"] is ColumnType.JSON


def test_a_check_tries_to_copy_and_leaves_nothing(
    redshift_gate: "RedshiftGate", redshift_url: str
) -> None:
    found = rehearse(redshift_url, "web")
    assert found.fault is None
    assert phases(found) == [
        ("connect", False),
        ("log in", False),
        ("rights", False),
        ("load", False),
    ]
    with make_destination(redshift_url).open() as session:
        assert session.relations("web") == []
        assert not session.schema_status("web").exists
    assert any(one.startswith("COPY") for one in redshift_gate.statements)
    assert list_files(redshift_gate, redshift_url) == []


def test_values_of_an_answer_are_written_as_they_are(redshift_url: str) -> None:
    with make_destination(redshift_url).open() as session:
        load_orders(session)
    found = ask(
        redshift_url,
        "SELECT CAST(1.10 AS decimal(38,9)) AS price, true AS yes, NULL AS nothing, 'ä' AS text,"
        " TIMESTAMP '2024-01-02 03:04:05.25' AS at, id FROM web.orders",
    )
    assert list(found.rows) == [["1.100000000", "true", None, "ä", "2024-01-02T03:04:05.25Z", "1"]]
    assert [each.form for each in found.columns[-2:]] == [ValueForm.INSTANT, ValueForm.NUMBER]
    with pytest.raises(StatementFaultError):
        ask(redshift_url, "SELECT * FROM web.nothing")
    with asked(redshift_url).ask(5.0) as session:
        assert session.list_readable_schemas() >= {"web"}
        assert session.find_rights().dangerous == ("a superuser",)


def test_a_session_for_reading_changes_nothing(redshift_url: str) -> None:
    with make_destination(redshift_url).open() as session:
        load_orders(session)
    with make_destination(redshift_url).open(read_only=True) as session:
        with pytest.raises(OperatorError, match="read-only transaction"):
            session.query("DELETE FROM web.orders")
        assert session.query("SELECT id FROM web.orders").rows == [(1,)]
