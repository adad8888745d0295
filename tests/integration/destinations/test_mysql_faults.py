"""Whose fault it is when a load into MariaDB fails, and what is there afterwards."""

import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.destinations.deaths import Death, carry_on, die, die_at
from tests.servers.reopened_table import refuse_reopened

from treadle import failpoint
from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.mysql.connection import TABLE_SECONDS_MAX, MysqlConnection
from treadle.destinations.mysql.destination import STATEMENT_SECONDS_MAX
from treadle.destinations.mysql.dialect import MysqlDialect
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    EndingSession,
    PlanOutdatedError,
    RowRefusedError,
    TableHeldError,
)
from treadle.destinations.registry import make_destination
from treadle.destinations.sql.stepped_session import name_lock
from treadle.destinations.sql.text import Quoted
from treadle.errors import OperatorError
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    RenameColumn,
    TableWrite,
    WidenColumn,
)
from treadle.tables.plan.column_split import widen_values

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaServer


# --- rights and connections -----------------------------------------------------------------------


def test_a_missing_right_is_told_in_the_servers_words(mariadb_server: "MariaServer") -> None:
    with mariadb_server.lend_user("ALL ON `_treadle`.*", "ALL ON web.*") as url:
        with make_destination(url).open() as session:
            session.prepare("web")
            loads = TableLoads(session)
            loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
            with pytest.raises(AccessDeniedError, match="create new schema") as refused:
                session.prepare("shop")
        assert "grant ALL on the databases _treadle and shop" in str(refused.value)
        assert "ERROR 1044" in str(refused.value)
    mariadb_server.empty()


def test_a_table_that_may_not_be_read_does_not_look_dropped(
    mariadb_server: "MariaServer",
) -> None:
    rights = ("ALL ON `_treadle`.*", "CREATE, ALTER, DROP ON web.*", "ALL ON web.orders")
    with mariadb_server.lend_user(*rights) as url, make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        user = url.partition("://")[2].partition(":")[0]
        mariadb_server.execute(f"REVOKE ALL ON web.orders FROM {user}")
        with pytest.raises(AccessDeniedError, match=r"SELECT command denied .*orders"):
            session.state("web", "orders")
        mariadb_server.execute(f"GRANT ALL ON web.orders TO {user}")
        assert session.state("web", "orders").physical.keys() == {"orders"}
    mariadb_server.empty()


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"user": "nobody_here"}])
def test_a_refused_login_is_forbidden(
    mariadb_server: "MariaServer", change: dict[str, str]
) -> None:
    with pytest.raises(AccessDeniedError, match="Access denied for user") as refused:
        make_destination(mariadb_server.url(**change)).open()
    assert mariadb_server.password not in str(refused.value)


def test_a_lock_of_somebody_else_is_waited_for_a_while(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        with mariadb_server.connect() as other:
            other.begin()
            other.query("UPDATE web.orders SET a = 'mine'")
            session.query("SET innodb_lock_wait_timeout = 1")
            with pytest.raises(TableHeldError, match="Lock wait timeout"):
                loads.load(table(ORDERS), upsert([(1, 2, "y")]))
            other.rollback()
        loads.load(table(ORDERS), upsert([(1, 2, "y")]))
        assert loads.orders() == [(1, "y", 2)]


def test_a_reader_that_keeps_a_table_from_a_change_keeps_no_other_from_a_load(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        assert loads.read("SELECT @@wait_timeout, @@lock_wait_timeout") == [(120, 15)]
        with make_destination(mariadb_url).preview() as reader:
            assert reader.query("SELECT @@wait_timeout").rows == [(3600,)]
        session.query("SET lock_wait_timeout = 1")
        plan = loads.plan(
            table(wider),
            upsert([(2, 1, "y")], of=wider),
            changes=[AddColumn("orders", column("b"))],
        )
        with mariadb_server.connect() as other:
            other.begin()
            other.query("SELECT * FROM web.orders")
            with pytest.raises(TableHeldError, match="Lock wait timeout"):
                session.load(plan)
            others = TableLoads(session, table_name="others")
            made = relation("others", {"id": BIGINT})
            others.load(
                table(made),
                upsert([(1, 1)], ("id", "_sdc_sequence"), made),
                changes=[CreateRelation(made)],
            )
            other.rollback()
        session.load(plan)
        assert loads.read("SELECT id, b FROM web.orders ORDER BY id") == [(1, None), (2, None)]
        assert loads.read("SELECT id FROM web.others") == [(1,)]


def test_a_statement_about_a_whole_table_is_not_taken_for_hung(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MysqlConnection.run
    asked: dict[int | None, list[str]] = {STATEMENT_SECONDS_MAX: [], TABLE_SECONDS_MAX: []}

    def note(self: MysqlConnection, statement: Quoted, *values: object) -> int:
        asked[self.driver._read_timeout].append(statement)
        return run(self, statement, *values)

    monkeypatch.setattr(MysqlConnection, "run", note)
    stage = replace(ORDERS, name="stage_orders")
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x")]),
            upsert([(2, 1, "y")], of=stage, private=True),
            changes=[CreateRelation(ORDERS), CreateRelation(stage, private=True)],
        )
        for found in asked.values():
            found.clear()
        loads.load(
            table(wider),
            changes=[
                AddColumn("orders", column("b")),
                EmptyRelation("orders"),
                CopyStage(stage.name, "orders", tuple((c.name, c.name) for c in ORDERS.columns)),
                DropStage(stage.name),
            ],
        )
        *made, dropped, tombstones = asked[TABLE_SECONDS_MAX]
        assert [" ".join(one.split()[:3]) for one in made] == [
            "ALTER TABLE `web`.`orders`",
            "DELETE FROM `web`.`orders`",
            "INSERT INTO `web`.`orders`",
        ]
        assert dropped.startswith("DROP TABLE")
        assert tombstones.startswith("DROP TABLE")
        assert "COMMIT" in asked[STATEMENT_SECONDS_MAX]
        assert loads.orders() == [(2, "y", 1)]


def test_a_table_that_another_session_loads_is_held(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MysqlDialect, "take_lock", Quoted("SELECT GET_LOCK($1, 1)"))
    with (
        make_destination(mariadb_url).open() as session,
        make_destination(mariadb_url).open() as other,
    ):
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        lock = name_lock(MysqlDialect(is_mariadb=True), "web", "orders")
        assert other.query(f"SELECT GET_LOCK('{lock}', 0)").rows == [(1,)]
        with pytest.raises(TableHeldError, match="still running"):
            loads.load(table(ORDERS), upsert([(1, 2, "y")]))


def test_a_killed_session_is_unavailable_and_its_load_undone(
    mariadb_server: "MariaServer", mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        [(own,)] = loads.read("SELECT connection_id()")

        def reach(name: str) -> None:
            if name == "destination.before-commit":
                mariadb_server.execute(f"KILL {own}")

        monkeypatch.setattr(failpoint, "reach", reach)
        with pytest.raises(CommitUnknownError, match="broke during COMMIT"):
            loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        with pytest.raises(DestinationUnavailableError):
            session.committed(LOG)
    with make_destination(mariadb_url).open() as session:
        assert session.committed(LOG)[7, "orders"].position == 0
        assert session.query("SELECT * FROM web.orders").rows == []


def test_a_server_that_takes_no_files_gets_rows_by_insert(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    types = {
        "id": BIGINT,
        "a": TEXT,
        "b": ColumnType.BOOLEAN,
        "d": ColumnType.DOUBLE,
        "t": ColumnType.TIMESTAMP,
    }
    made = relation("orders", types)
    found: list[Any] = []
    for allowed in (0, 1):
        mariadb_server.execute(f"SET GLOBAL local_infile = {allowed}")
        try:
            with make_destination(mariadb_url).open() as session:
                session.prepare("web")
                loads = TableLoads(session, position=-1, log_id=f"log {allowed}")
                if allowed:
                    loads.read("DELETE FROM web.orders")
                    loads.revision = 3
                else:
                    loads.create(made)
                values = [
                    (n, 1, "it's\\ \t\n`$1`", n % 2 == 0, n / 7, n * 1_000_001) for n in range(300)
                ]
                columns = ("id", "_sdc_sequence", "a", "b", "d", "t")
                loads.load(table(made), upsert(values, columns, made))
                loads.load(table(made), upsert([(5, 2, None, None, None, None)], columns, made))
                found.append(loads.read("SELECT id, a, b, d, t FROM web.orders ORDER BY id"))
                loads.revision = 0
        finally:
            mariadb_server.execute("SET GLOBAL local_infile = 1")
    assert found[0] == found[1]
    assert len(found[0]) == 300


def test_rows_by_insert_fit_the_packets_of_the_server(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    [[before]] = mariadb_server.execute("SELECT @@GLOBAL.max_allowed_packet")
    mariadb_server.execute("SET GLOBAL local_infile = 0, GLOBAL max_allowed_packet = 1048576")
    try:
        with make_destination(mariadb_url).open() as session:
            session.prepare("web")
            loads = TableLoads(session)
            loads.create(ORDERS)
            long = [(number, 1, "é" * 25_000) for number in range(100)]
            loads.load(table(ORDERS), upsert([*long, (100, 1, "x" * 900_000)]))
            assert loads.read("SELECT count(*), min(length(a)) FROM web.orders") == [(101, 50_000)]
            with pytest.raises(RowRefusedError, match="row is too big for MySQL"):
                loads.load(table(ORDERS), upsert([(200, 1, "short"), (201, 1, "x" * 1_048_576)]))
            loads.load(table(ORDERS), upsert([(200, 1, "short")]))
            assert loads.read("SELECT count(*) FROM web.orders") == [(102,)]
    finally:
        mariadb_server.execute("SET GLOBAL local_infile = 1")
        mariadb_server.execute(f"SET GLOBAL max_allowed_packet = {before}")


def test_a_row_that_is_left_out_is_seen_whatever_the_server_keeps_of_warnings(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    mariadb_server.execute("SET GLOBAL max_error_count = 0")
    try:
        with make_destination(mariadb_url).open() as session:
            session.prepare("web")
            loads = TableLoads(session)
            log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
            loads.create(log, append=True)
            loads.read("CREATE UNIQUE INDEX mine ON web.orders (a(20))")
            same = rows(log, ("id", "_sdc_sequence", "a"), [(1, 1, "same"), (2, 1, "same")])
            with pytest.raises(RowRefusedError, match="Duplicate entry 'same'"):
                loads.load(table(log, append=True), TableWrite(False, "append", same))
            assert loads.orders() == []
    finally:
        mariadb_server.execute("SET GLOBAL max_error_count = 64")


def test_a_server_gets_no_file_that_it_was_not_offered(mariadb_url: str) -> None:
    """A server may ask for any file, in answer to any statement."""
    with make_destination(mariadb_url).open() as session:
        statement = "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE web.mine"
        session.query("CREATE DATABASE web")
        session.query("CREATE TABLE web.mine (a TEXT)")
        with pytest.raises((OperatorError, DestinationUnavailableError), match="nobody offered"):
            session.query(statement)


def test_a_question_that_takes_too_long_is_given_up(mariadb_url: str) -> None:
    with make_destination(mariadb_url).open() as session:
        began = time.monotonic()
        assert session.count_query("SELECT SLEEP(30)", 0.2) is None
        assert time.monotonic() - began < 20
        assert session.count_query("SELECT 1 AS a UNION SELECT 2 -- two", 10) == 2


def test_rows_of_a_statement_that_are_not_taken_end_it(mariadb_url: str) -> None:
    with make_destination(mariadb_url).open() as session:
        endless = "SELECT a.seq, b.seq FROM mysql.seq_1_to_1000000 a, mysql.seq_1_to_1000000 b"
        with session.stream_query(endless) as found:
            assert next(found.batches)[0][0] == 1
        assert session.query("SELECT 1 AS one").rows == [(1,)]


# --- deaths between the steps of a load -----------------------------------------------------------

BOTH = (CreateRelation(ORDERS), CreateRelation(ITEMS))


@pytest.mark.parametrize(
    ("point", "passes", "made"),
    [
        ("destination.pending", 1, set()),
        ("destination.changed", 1, {"orders"}),
        ("destination.changed", 2, {"orders", "orders__items"}),
        ("destination.after-rows", 1, {"orders", "orders__items"}),
    ],
)
def test_a_first_load_that_ended_is_done_by_the_next_process(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch, point: str, passes: int, made: set[str]
) -> None:
    session = make_destination(mariadb_url).open()
    session.prepare("web")
    plan = TableLoads(session).plan(table(ORDERS, ITEMS), upsert([(1, 1, "x")]), changes=BOTH)
    die_at(monkeypatch, point, passes)
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    loads = carry_on(mariadb_url, session, plan)
    with loads.session:
        state = loads.session.state("web", "orders")
        assert set(state.physical) == made
        held = set() if state.table is None else {each.name for each in state.table.relations}
        assert (held, state.revision) == (made, 0)
        assert loads.session.committed(LOG) == {}
        with make_destination(mariadb_url).preview() as reader:
            assert reader.state("web", "orders") == state
        changes = [change for change in BOTH if change.relation.name not in made]
        loads.load(table(ORDERS, ITEMS), upsert([(1, 1, "x")]), changes=changes)
        assert loads.orders() == [(1, "x", 1)]
        assert loads.read("SELECT count(*) FROM _treadle.intents") == [(0,)]


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_split_that_ended_halfway_is_no_column_that_the_user_dropped(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    session = make_destination(mariadb_url).open()
    session.prepare("web")
    first = TableLoads(session)
    first.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    split = relation("orders", {"id": BIGINT, "a__st": TEXT, "a__bi": BIGINT, "b": TEXT})
    fields = {"a__st": "a", "a__bi": "a"}
    columns = tuple(replace(c, field=fields.get(c.name, c.field)) for c in split.columns)
    split = replace(split, columns=columns)
    changes: list[RenameColumn | AddColumn] = [
        RenameColumn("orders", "a", "a__st"),
        AddColumn("orders", columns[-2]),
        AddColumn("orders", columns[-1]),
    ]
    plan = first.plan(
        table(split), upsert([(2, 1, 5)], ("id", "_sdc_sequence", "a__bi"), split), changes=changes
    )
    die_at(monkeypatch, "destination.changed" if passes < 3 else "destination.before-commit",
           min(passes, 2) if passes < 3 else 1)  # fmt: skip
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    loads = carry_on(mariadb_url, session, plan)
    with loads.session:
        state = loads.session.state("web", "orders")
        assert state.table is not None
        [held] = state.table.relations
        there = set(state.physical["orders"].columns)
        assert {c.name for c in held.columns} == there
        wanted = [
            change
            for change in changes
            if isinstance(change, AddColumn) and change.column.name not in there
        ]
        loads.load(
            table(split),
            upsert([(2, 1, 5)], ("id", "_sdc_sequence", "a__bi"), split),
            changes=wanted,
        )
        assert loads.read("SELECT id, a__st, a__bi FROM web.orders ORDER BY id") == [
            (1, "x", None),
            (2, None, 5),
        ]


REKEYED = relation("orders", {"id": BIGINT, "a": TEXT}, key=("a",))


def rekey(loads: TableLoads) -> LoadPlan:
    """A new version with another key, and one row."""
    return loads.plan(
        table(REKEYED),
        upsert([("k", 1, 7)], ("a", "_sdc_sequence", "id"), REKEYED),
        changes=[EmptyRelation("orders"), ChangeKey("orders", ("id",), ("a",))],
    )


def die_amid_rekey(
    url: str, monkeypatch: pytest.MonkeyPatch, point: str
) -> tuple[TableLoads, LoadPlan]:
    """Die at a failpoint while a table with one row gets another key.

    Returns:
        The loads of the next process, and the plan of the load that died.
    """
    session = make_destination(url).open()
    session.prepare("web")
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    plan = rekey(loads)
    die(monkeypatch, session, plan, point)
    return carry_on(url, session, plan), plan


def test_a_new_version_with_another_key_is_built_beside_the_live_one(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, _ = die_amid_rekey(mariadb_url, monkeypatch, "destination.before-commit")
    with loads.session:
        # Nothing of it is to be seen, and nothing of the former rows is lost.
        assert loads.orders() == [(1, "x", 1)]
        state = loads.session.state("web", "orders")
        assert state.physical["orders"].key == {"id"}
        assert state.table is not None
        assert state.table.relations[0].key == ("id",)
        # The next load does not ask for it.
        loads.load(table(ORDERS), upsert([(2, 2, "y")]))
        assert len(loads.orders()) == 2
        assert set(loads.session.relations("web")) == {"orders"}


def test_the_next_process_swaps_what_a_committed_load_left(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, plan = die_amid_rekey(mariadb_url, monkeypatch, "destination.swap")
    with loads.session:
        assert loads.session.committed(LOG)[7, "orders"].position == plan.offset.position
        assert loads.session.state("web", "orders").physical["orders"].key == {"a"}
        assert loads.orders() == [(7, "k", 1)]
        assert set(loads.session.relations("web")) == {"orders"}
        assert loads.read("SELECT count(*) FROM _treadle.intents") == [(0,)]
        with pytest.raises(PlanOutdatedError):
            loads.session.load(plan)


@pytest.mark.release
def test_a_reader_that_keeps_a_new_version_from_its_place_is_told_of_and_waited_for(
    mariadb_server: "MariaServer", mariadb_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No further record of the table comes, and the destination is asked nothing else."""
    with make_destination(mariadb_url).open() as session:
        assert isinstance(session, EndingSession)
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        session.query("SET lock_wait_timeout = 1")
        with mariadb_server.connect() as other:
            other.begin()
            other.query("SELECT * FROM web.orders")
            session.load(rekey(loads))
            assert session.has_unended
            assert "a load of web.orders is committed, and its new rows do not show" in caplog.text
            session.end_loads()
            assert session.has_unended
            other.rollback()
        session.end_loads()
        assert not session.has_unended
        assert loads.orders() == [(7, "k", 1)]
        assert loads.read("SELECT count(*) FROM _treadle.intents") == [(0,)]


def test_the_next_question_swaps_what_a_committed_load_left(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, _ = die_amid_rekey(mariadb_url, monkeypatch, "destination.swap")
    with loads.session:
        assert isinstance(loads.session, EndingSession)
        loads.session.end_loads()
        assert loads.orders() == [(7, "k", 1)]
        assert set(loads.session.relations("web")) == {"orders"}


def test_a_version_that_was_emptied_keeps_its_rows_until_the_commit(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_destination(mariadb_url).open()
    session.prepare("web")
    loads = TableLoads(session)
    kept = table(ORDERS, tombstones=True)
    loads.load(kept, upsert([(1, 1, "x"), (2, 1, "x")]), changes=[CreateRelation(ORDERS)])
    loads.load(kept, upsert([], deletes=rows(ORDERS, ("id", "_sdc_sequence"), [(2, 5)])))
    plan = loads.plan(kept, upsert([(2, 2, "y")]), changes=[EmptyRelation("orders")])
    die_at(monkeypatch, "destination.before-commit")
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    again = carry_on(mariadb_url, session, plan)
    with again.session:
        assert again.orders() == [(1, "x", 1)]
        # What was deleted is still deleted, since the new version did not come.
        late = again.load(kept, upsert([(2, 3, "late")]))
        assert dict(late.superseded) == {0: 1}
        again.load(kept, upsert([(2, 2, "y")]), changes=[EmptyRelation("orders")])
        assert again.orders() == [(2, "y", 2)]


# --- widening -------------------------------------------------------------------------------------


def test_any_double_is_spelled_as_a_later_one_would_be(mariadb_url: str) -> None:
    dice = random.Random(7)
    values = [
        dice.choice((-1, 1)) * dice.random() * 10.0 ** dice.randint(-320, 300) for _ in range(400)
    ]
    values += [
        dice.choice((-1, 1)) * dice.random() * 10.0**n for n in range(-18, 19) for _ in "abc"
    ]
    values += [float(dice.randint(-(2**53), 2**53)) for _ in range(50)]
    values += [1e15 + n / 8 for n in range(1, 20)] + [1e-4, 9.999e-5, 1e16, 1e17, 123456789.125]
    narrow = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        write = upsert(
            [(n, 1, value) for n, value in enumerate(values)], ("id", "_sdc_sequence", "v"), narrow
        )
        loads.load(table(narrow), write, changes=[CreateRelation(narrow)])
        loads.load(
            table(wide), changes=[WidenColumn("orders", column("v", TEXT), ColumnType.DOUBLE)]
        )
        found = [value for (value,) in loads.read("SELECT v FROM web.orders ORDER BY id")]
        assert found == list(to_values(widen_values(values, ColumnType.DOUBLE, TEXT)))
        assert list(session.state("web", "orders").physical["orders"].columns)[-1] == "v"


def test_a_widening_that_ended_halfway_is_done_again(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = relation("orders", {"id": BIGINT, "v": ColumnType.BOOLEAN})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    change = WidenColumn("orders", column("v", TEXT), ColumnType.BOOLEAN)
    session = make_destination(mariadb_url).open()
    session.prepare("web")
    first = TableLoads(session)
    write = upsert([(1, 1, True), (2, 1, None)], ("id", "_sdc_sequence", "v"), narrow)
    first.load(table(narrow), write, changes=[CreateRelation(narrow)])
    plan = first.plan(table(wide), changes=[change])
    die_at(monkeypatch, "destination.changed", 2)
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    loads = carry_on(mariadb_url, session, plan)
    with loads.session:
        state = loads.session.state("web", "orders")
        assert state.table is not None
        assert state.table.relations[0].columns[-1].type is ColumnType.BOOLEAN
        loads.load(table(wide), changes=[change])
        assert loads.read("SELECT v FROM web.orders ORDER BY id") == [("true",), (None,)]
        assert "v" in loads.session.state("web", "orders").physical["orders"].columns


# --- rehearsals -----------------------------------------------------------------------------------


def test_a_rehearsal_in_a_schema_that_is_missing_leaves_none(mariadb_url: str) -> None:
    with make_destination(mariadb_url).open() as session:
        loads = TableLoads(session)
        plan = loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        assert dict(session.load(plan, rehearse=True).rows) == {"orders": 1}
        schemas = session.query("SELECT schema_name FROM information_schema.schemata").rows
        assert ("web",) not in schemas
        assert session.query("SELECT count(*) FROM _treadle.schemas").rows == [(0,)]
        session.prepare("web")
        loads.run(plan)
        assert loads.orders() == [(1, "x", 1)]


def test_a_rehearsal_names_no_temporary_table_twice_where_mysql_takes_that_once(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse_reopened(monkeypatch)
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    kept = table(wider, tombstones=True)
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        deletes = rows(wider, ("id", "_sdc_sequence"), [(3, 1), (4, 9)])
        plan = loads.plan(
            kept,
            upsert([(2, 1, "y"), (3, 5, "y")], of=wider),
            # Some are there, some are not, and one is older.
            upsert([(2, 2, "z"), (3, 4, "z"), (4, 1, "z")], of=wider, deletes=deletes),
            changes=[AddColumn("orders", column("b"))],
        )
        found = session.load(plan, rehearse=True)
        assert dict(found.rows) == {"orders": 4}
        assert found.superseded == {0: 1}
        assert refused
        assert loads.read("SHOW TABLES FROM web") == [("_sdc_rejected",), ("orders",)]
        again = session.load(plan, rehearse=True)
        assert again == found
        refused.clear()
        assert session.load(plan) == found
        assert loads.orders() == [(1, "x", 1), (2, "z", 2), (3, "y", 5)]
        assert refused == []


def test_a_rehearsal_of_a_change_meets_the_users_own_index(mariadb_url: str) -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        loads.read("CREATE UNIQUE INDEX mine ON web.orders (a(20))")
        plan = loads.plan(
            table(wider),
            upsert([(2, 1, "same"), (3, 1, "same")], of=wider),
            changes=[AddColumn("orders", column("b"))],
        )
        with pytest.raises(Exception, match="Duplicate entry"):
            session.load(plan, rehearse=True)
        assert "b" not in session.state("web", "orders").physical["orders"].columns
        assert loads.orders() == [(1, "x", 1)]


def test_a_session_prepares_while_another_one_rehearses(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema that a rehearsal makes is not dropped with rows in it."""
    at_rehearsal, may_end = threading.Event(), threading.Event()
    here = threading.current_thread()

    def reach(name: str) -> None:
        if name == "destination.after-rows" and threading.current_thread() is not here:
            at_rehearsal.set()
            may_end.wait(10)

    def rehearse() -> None:
        with make_destination(mariadb_url).open() as other:
            loads = TableLoads(other, table_name="others", log_id="other")
            made = relation("others", {"id": BIGINT})
            plan = loads.plan(table(made), upsert([(1, 1)], ("id", "_sdc_sequence"), made),
                              changes=[CreateRelation(made)])  # fmt: skip
            other.load(plan, rehearse=True)

    monkeypatch.setattr(failpoint, "reach", reach)
    rehearsing = threading.Thread(target=rehearse)
    rehearsing.start()
    assert at_rehearsal.wait(20)
    threading.Timer(0.5, may_end.set).start()
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        rehearsing.join(20)
        assert loads.orders() == [(1, "x", 1)]
