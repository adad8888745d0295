"""The session on Snowflake over a service that is none: what is sent, and when no more is."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.layout import digest_name
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    TableHeldError,
)
from treadle.destinations.rehearsal_result import PhaseTimer
from treadle.destinations.sql.catalogue import keep_intent, read_intent
from treadle.destinations.sql.load_intent import LoadIntent
from treadle.destinations.sql.stepped_session import PREPARING, name_lock
from treadle.destinations.sql.text import Quoted
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, LoadPlan, WidenColumn

pytest.importorskip("snowflake.connector", reason="the driver of Snowflake is not installed")

from snowflake.connector.errors import OperationalError, ProgrammingError
from tests.unit.destinations.snowflake_service import LOCKED, UNANSWERED, SnowflakeService

from treadle.destinations.snowflake.connection import name_transaction
from treadle.destinations.snowflake.destination import SnowflakeDestination
from treadle.destinations.snowflake.dialect import SnowflakeDialect
from treadle.destinations.snowflake.session import (
    PREPARATIONS,
    SnowflakeSession,
    SnowflakeTransactions,
    name_folder,
)

pytestmark = pytest.mark.release

URL = "snowflake://u:p@localhost/shop?protocol=http"
TURN = 'UPDATE "_TREADLE"."TURNS"'
INSERT = Quoted("INSERT INTO orders VALUES (1)")


@pytest.fixture
def service() -> Iterator[SnowflakeService]:
    made = SnowflakeService()
    with made.tables:
        made.prepare()
        made.tables.execute("CREATE TABLE orders (id BIGINT)")
        yield made


def fail_load(transactions: SnowflakeTransactions) -> None:
    """Load with a lease, and drop what was staged."""
    connection = transactions.connection
    connection._staged.append(Quoted('"_TREADLE"."STAGED"'))
    try:
        with transactions.hold(["a"]), transactions.transaction():
            connection.run(INSERT)
    finally:
        connection.release()


# --- what is not undone ---------------------------------------------------------------------------


def test_nothing_is_sent_after_a_rollback_that_failed(service: SnowflakeService) -> None:
    service.faults = {"INSERT": UNANSWERED, "ROLLBACK": UNANSWERED}
    transactions = service.open("one")
    with pytest.raises(DestinationUnavailableError, match="connection was reset"):
        fail_load(transactions)
    assert service.sent[-2:] == [INSERT, "ROLLBACK"]
    with pytest.raises(DestinationUnavailableError, match="could not be undone"):  # noqa: SIM117
        with transactions.translated() as connection:
            connection.rows(Quoted("SELECT 1"))
    with pytest.raises(OperationalError, match="could not be undone"):
        transactions.connection.query("SELECT 1")
    transactions.close()
    assert service.sent[-2:] == ["ROLLBACK", "closed"]
    assert service.leases() == [("a", "one")]


def test_what_was_staged_is_dropped_after_a_rollback(service: SnowflakeService) -> None:
    service.faults = {"INSERT": UNANSWERED}
    with pytest.raises(DestinationUnavailableError):
        fail_load(service.open("one"))
    assert service.sent[-1] == 'DROP TABLE IF EXISTS "_TREADLE"."STAGED"'
    assert service.leases() == []


def test_a_transaction_that_nobody_ended_is_not_committed_by_a_drop(
    service: SnowflakeService,
) -> None:
    connection = service.connect("one")
    connection._staged.append(Quoted('"_TREADLE"."STAGED"'))
    connection.begin()
    connection.run(INSERT)
    connection.release()
    assert service.count_sent("DROP") == 0
    assert connection.is_given_up


# --- transactions of others -----------------------------------------------------------------------


def test_only_lost_transactions_of_the_same_database_are_ended(service: SnowflakeService) -> None:
    with service.open("other").hold(["b"]):
        names = [
            name_transaction("SHOP", "lost"),
            name_transaction("shop", "other"),
            name_transaction("elsewhere", "lost"),
            "TREADLE_LOST",
            "theirs",
        ]
        service.answers["SHOW TRANSACTIONS"] = [
            (1_700_000_000_000_000_000 + number, "LOADER", 5, name, None, "running")
            for number, name in enumerate(names)
        ]
        service.answers["SELECT SYSTEM$ABORT_TRANSACTION"] = [("aborted",)]
        service.faults[TURN] = LOCKED
        transactions = service.open("one")
        with pytest.raises(DestinationUnavailableError), transactions.transaction():
            pass
    aborted = [text for text in service.sent if text.startswith("SELECT SYSTEM$")]
    assert aborted == ["SELECT SYSTEM$ABORT_TRANSACTION(1700000000000000000)"]


def test_a_transaction_that_reads_has_no_name(service: SnowflakeService) -> None:
    with service.open("one").transaction("lookup") as connection:
        connection.rollback()
    assert service.sent == ["BEGIN TRANSACTION", "ROLLBACK"]


def test_a_load_commits_the_transaction_that_has_the_turn(service: SnowflakeService) -> None:
    transactions = service.open("one")
    with transactions.transaction() as connection:
        connection.run(INSERT)
    transactions.commit()
    assert [text for text in service.sent if "TURNS" not in text] == [
        "ALTER SESSION SET AUTOCOMMIT = FALSE",
        f"BEGIN TRANSACTION NAME {name_transaction('shop', 'one')}",
        "SELECT CURRENT_TRANSACTION()",
        INSERT,
        "SELECT CURRENT_TRANSACTION()",
        "COMMIT",
        "ALTER SESSION SET AUTOCOMMIT = TRUE",
    ]


@pytest.mark.parametrize("other", [None, "1700000000000000002"])
def test_a_transaction_that_was_ended_from_outside_is_not_committed(
    service: SnowflakeService, other: str | None
) -> None:
    transactions = service.open("one")
    with transactions.transaction() as connection:
        service.answers["SELECT CURRENT_TRANSACTION()"] = [(other,)]
        connection.run(INSERT)
    with pytest.raises(DestinationUnavailableError, match="ended from outside"):
        transactions.commit()
    assert service.count_sent("COMMIT") == 0
    assert service.sent[-2:] == ["ROLLBACK", "ALTER SESSION SET AUTOCOMMIT = TRUE"]


def test_a_schema_change_may_end_a_transaction(service: SnowflakeService) -> None:
    with service.open("one").transaction() as connection:
        connection.run(Quoted("DROP TABLE IF EXISTS gone"))
        service.answers["SELECT CURRENT_TRANSACTION()"] = [("1700000000000000002",)]
        connection.run(INSERT)
        connection.commit()
    assert service.count_sent("COMMIT") == 1


def test_a_session_that_stays_without_autocommit_is_given_up(service: SnowflakeService) -> None:
    service.faults["ALTER SESSION SET AUTOCOMMIT = TRUE"] = UNANSWERED
    transactions = service.open("one")
    with transactions.hold(["a"]):
        with transactions.transaction():
            pass
        transactions.commit()  # it is committed all the same
    assert transactions.connection.is_given_up
    assert service.leases() == [("a", "one")]


@pytest.mark.parametrize(
    ("position", "fault"), [(0, "just before COMMIT"), (1, ""), (None, "just before COMMIT")]
)
def test_a_commit_that_did_nothing_is_found(
    service: SnowflakeService, position: int | None, fault: str
) -> None:
    place = '"_TREADLE"."POSITIONS"'
    service.tables.execute(
        f"CREATE TABLE {place} (log_id TEXT, source_id INT, table_key TEXT, position INT,"
        " fence INT)"
    )
    plan = TableLoads(cast("Any", None)).plan(table(ORDERS))
    plan.offset = replace(plan.offset, position=1)
    mark = plan.offset
    if position is not None:
        service.tables.execute(
            f"INSERT INTO {place} VALUES (?, ?, ?, ?, 0)",
            [mark.log_id, mark.source_id, digest_name(mark.table_name), position],
        )
    transactions = service.open("one")
    with transactions.loading([plan], rehearse=False):
        with transactions.transaction():
            pass
        if fault:
            with pytest.raises(CommitUnknownError, match=fault):
                transactions.commit()
        else:
            transactions.commit()


def test_an_offset_that_nobody_tells_after_commit_is_asked_for_again(
    service: SnowflakeService,
) -> None:
    transactions = service.open("one")
    plan = TableLoads(cast("Any", None)).plan(table(ORDERS))
    service.faults["SELECT position"] = UNANSWERED
    with transactions.loading([plan], rehearse=False):
        with transactions.transaction():
            pass
        with pytest.raises(CommitUnknownError, match="did not say"):
            transactions.commit()
    assert service.count_sent("COMMIT") == 1


# --- schema changes of one that was overtaken -----------------------------------------------------


def make_orders(service: SnowflakeService) -> None:
    """Make the table of ORDERS, and treadle's own tables of which a schema change reads."""
    tables = service.tables
    tables.execute('CREATE SCHEMA "WEB"')
    tables.execute('CREATE TABLE "WEB"."ORDERS" ("ID" BIGINT, "A" BIGINT)')
    tables.execute(
        'CREATE TABLE "_TREADLE"."INTENTS" (schema_name TEXT, table_key TEXT, document TEXT)'
    )


def widen() -> LoadPlan:
    change = WidenColumn("orders", Column("a", "a", ColumnType.TEXT), ColumnType.BIGINT)
    return TableLoads(cast("Any", None)).plan(table(ORDERS), changes=[change])


def overtake(service: SnowflakeService) -> None:
    """Have another holder take every lease."""
    service.tables.execute("""UPDATE "_TREADLE"."LEASES" SET holder = 'another'""")


def test_a_loader_that_was_overtaken_replaces_no_table(service: SnowflakeService) -> None:
    make_orders(service)
    service.hooks['UPDATE "_TREADLE"."DRAFT_'] = lambda: overtake(service)
    transactions, plan = service.open("one"), widen()
    session = SnowflakeSession(transactions)
    with (
        pytest.raises(DestinationUnavailableError, match="took this load for lost"),
        transactions.loading([plan], rehearse=False),
    ):
        session._change_structure(plan)
    assert service.count_sent('CREATE OR REPLACE TABLE "_TREADLE"."DRAFT_') == 1
    assert service.count_sent('CREATE OR REPLACE TABLE "WEB"."ORDERS"') == 0
    assert service.count_sent("ALTER TABLE") == 1


def test_a_lease_is_renewed_before_each_schema_change(service: SnowflakeService) -> None:
    make_orders(service)

    def wait() -> None:
        service.clock += 800_000_000

    for begin in ('UPDATE "_TREADLE"."DRAFT_', 'CREATE OR REPLACE TABLE "WEB"."ORDERS"'):
        service.hooks[begin] = wait
    transactions, plan = service.open("one"), widen()
    with transactions.loading([plan], rehearse=False):
        SnowflakeSession(transactions)._change_structure(plan)
    assert service.count_sent("DROP TABLE") == 1


def test_a_lease_that_ended_is_not_renewed(service: SnowflakeService) -> None:
    transactions = service.open("one")
    with transactions.hold(["a", "b"]):
        with transactions.guarded():
            pass
        service.clock += 900_000_000
        with (
            pytest.raises(DestinationUnavailableError, match="took this load for lost"),
            transactions.guarded(),
        ):
            pass
    with transactions.guarded():  # nothing is held
        pass


def test_a_loader_that_was_overtaken_leaves_the_end_of_its_load_to_the_other(
    service: SnowflakeService,
) -> None:
    make_orders(service)
    service.tables.execute('CREATE TABLE "_TREADLE"."STAGE" (id BIGINT)')
    session = SnowflakeSession(service.open("one"))
    transactions = session._transactions
    intent = LoadIntent("", (), ("stage",))
    keep_intent(transactions.connection, "web", "orders", intent)
    with transactions.hold(["a"]):
        overtake(service)
        with pytest.raises(DestinationUnavailableError, match="took this load for lost"):
            session._end(transactions.connection, "web", "orders", intent)
        # Its rows are committed, so it is no failure.
        session._end_load(widen(), cast("Any", SimpleNamespace(ending=intent)))
    assert read_intent(transactions.connection, "web", "orders") == intent
    assert service.tables.execute('SELECT count(*) FROM "_TREADLE"."STAGE"').fetchall() == [(0,)]


# --- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", range(len(PREPARATIONS)))
def test_a_kill_amid_the_preparations_keeps_nobody_out(done: int) -> None:
    service = SnowflakeService()
    with service.tables:
        service.prepare(PREPARATIONS[:done])
        transactions = service.open("one")
        with transactions.hold(["a"]), transactions.transaction() as connection:
            connection.rollback()
        assert service.leases() == []


def hold_for(transactions: SnowflakeTransactions, name: str) -> None:
    with transactions.hold([name]):
        pass


def leave_without_answer(service: SnowflakeService, holder: str, name: str = "a") -> None:
    """Close a session whose connection broke while it had a lease."""
    transactions = service.open(holder)
    with suppress(DestinationUnavailableError), transactions.hold([name]):
        service.faults = {"DELETE": UNANSWERED}
    service.faults.clear()
    transactions.close()
    assert service.leases() == [(name, holder)]


def test_a_lease_that_was_taken_in_vain_is_given_back(service: SnowflakeService) -> None:
    with service.open("gone").hold(["a"]):
        service.clock += 900_000_001
        service.faults[TURN] = LOCKED
        with pytest.raises(DestinationUnavailableError, match="cannot take the load now"):
            hold_for(service.open("one"), "a")
        assert service.leases() == [("a", "")]
        # The turn was not taken, so it is to be taken still, before anything else.
        service.faults.clear()
        service.sent.clear()
        hold_for(service.open("two"), "a")
        assert service.count_sent(TURN) == 1
        assert service.leases() == []


def test_a_lease_that_cannot_be_read_again_is_left(service: SnowflakeService) -> None:
    def fail() -> None:
        service.faults["SELECT holder, ends_at"] = UNANSWERED

    service.hooks["MERGE"] = fail
    with pytest.raises(DestinationUnavailableError):
        hold_for(service.open("one"), "a")
    assert service.leases() == []
    assert service.count_sent(TURN) == 0


def test_a_session_of_the_same_process_that_is_closed_is_not_waited_for(
    service: SnowflakeService,
) -> None:
    leave_without_answer(service, "first of this process")
    service.sent.clear()
    hold_for(service.open("two"), "a")
    assert service.leases() == []
    assert service.count_sent(TURN) == 1  # what the first one has open is waited for


def test_what_a_closed_session_has_open_is_ended(service: SnowflakeService) -> None:
    leave_without_answer(service, "left")
    lost = name_transaction("shop", "left")
    service.answers["SHOW TRANSACTIONS"] = [(17, "LOADER", 5, lost, None, "running")]
    service.answers["SELECT SYSTEM$ABORT_TRANSACTION"] = [("aborted",)]
    service.faults[TURN] = LOCKED
    with (
        pytest.raises(DestinationUnavailableError),
        service.open("two").transaction(),
    ):
        pass
    assert "SELECT SYSTEM$ABORT_TRANSACTION(17)" in service.sent


@pytest.mark.parametrize("reason", ["open", "schema change", "schemas"])
def test_a_lease_that_may_be_in_use_is_waited_for(
    service: SnowflakeService, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.destinations.snowflake.session.WAIT_SECONDS_MAX", -1)
    name = PREPARING if reason == "schemas" else "a"
    transactions = service.open(f"in use: {reason}")
    with ExitStack() as stack:
        if reason == "open":
            stack.enter_context(transactions.hold([name]))
        elif reason == "schemas":
            leave_without_answer(service, "left behind", name)
        else:
            service.faults = {"DROP": UNANSWERED, "DELETE": UNANSWERED}
            change_schema(transactions)
            service.faults.clear()
            transactions.close()
        with pytest.raises(TableHeldError, match="is still running"):
            hold_for(service.open("two"), name)
        service.clock += 900_000_001
        hold_for(service.open("two"), name)


def change_schema(transactions: SnowflakeTransactions) -> None:
    """Fail with a schema change."""
    with suppress(ProgrammingError, OperationalError), transactions.hold(["a"]):  # noqa: SIM117
        with transactions.guarded():
            transactions.connection.run(Quoted("DROP TABLE a_table"))


def test_a_refused_schema_change_keeps_nobody_waiting(service: SnowflakeService) -> None:
    transactions = service.open("refused")
    service.faults = {"DROP": LOCKED, "DELETE": UNANSWERED}
    change_schema(transactions)
    assert service.leases() == [("a", "refused")]
    service.faults.clear()
    transactions.close()
    hold_for(service.open("two"), "a")
    assert service.leases() == []


# --- what a session is opened with ----------------------------------------------------------------


def test_what_an_account_sets_otherwise_is_set_for_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def log_in(**options: Any) -> Any:
        given.update(options)
        return SimpleNamespace(rest=SimpleNamespace(fetch=None), close=lambda: None)

    module = "treadle.destinations.snowflake.destination"
    monkeypatch.setattr(f"{module}.Driver", log_in)
    monkeypatch.setattr(f"{module}.connect_server", lambda *_: SimpleNamespace(close=lambda: None))
    SnowflakeDestination(URL).probe(PhaseTimer())
    parameters = given["session_parameters"]
    assert parameters["MULTI_STATEMENT_COUNT"] == 1
    assert parameters["TIMESTAMP_INPUT_FORMAT"] == "AUTO"
    assert parameters["TIMEZONE"] == "UTC"
    assert given["autocommit"] is True


# --- files ----------------------------------------------------------------------------------------


def test_no_text_of_a_file_is_taken_for_null(service: SnowflakeService) -> None:
    service.answers["COPY "] = [("1.parquet", "LOADED", 2, 2)]
    texts = [(Quoted("c0"), ColumnType.TEXT, ["\\N", None])]
    service.connect("one").send("treadle_1_1", texts)
    [copied] = [text for text in service.sent if text.startswith("COPY ")]
    assert " FILE_FORMAT = (TYPE = PARQUET NULL_IF = ()) " in copied


def test_the_files_of_a_load_are_in_a_folder_of_its_lease_and_its_holder(
    service: SnowflakeService,
) -> None:
    service.answers["COPY "] = [("1.parquet", "LOADED", 1, 1)]
    transactions = service.open("0abc")
    plan = TableLoads(cast("Any", None)).plan(table(ORDERS), upsert([(1, 1, "x")]))
    lease = name_lock(transactions.dialect, "web", "orders")
    folder = name_folder("shop", lease)
    SnowflakeSession(transactions)._stage_rows(plan)
    assert service.sent[0] == f"REMOVE @~/treadle/{folder}/"
    assert f" @~/treadle/{folder}/0abc AUTO_COMPRESS" in service.sent[1]
    assert service.count_sent("REMOVE") == 1
    # What is looked up afterwards is under no lease, and goes elsewhere.
    key = [(Quoted("c0"), ColumnType.BIGINT, [1])]
    transactions.connection.send("treadle_wanted", key)
    assert service.sent[-3].startswith("PUT 'file://2.parquet' @~/treadle/lookups/0abc ")


def test_a_load_without_rows_empties_no_folder(service: SnowflakeService) -> None:
    plan = TableLoads(cast("Any", None)).plan(table(ORDERS))
    SnowflakeSession(service.open("one"))._stage_rows(plan)
    assert service.sent == []


def test_a_folder_is_of_one_table_of_one_database() -> None:
    folders = {
        name_folder(database, name_lock(SnowflakeDialect(), schema, name))
        for database in ("shop", "other")
        for schema in ("web", "app")
        for name in ("orders", "items")
    }
    assert len(folders) == 8
    assert name_folder("Shop", "a") == name_folder("SHOP", "a")
