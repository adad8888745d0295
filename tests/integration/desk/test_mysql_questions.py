"""Statements over HTTP on MariaDB: with the user that loads, and with one of their own."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.desk.question_scene import add_tenant, serve_questions

from treadle.destinations.mysql_form import MysqlUrl
from treadle.destinations.reach import NOT_ALONE, ROLE_READS_TOO_MUCH

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaServer

LOADS = ("ALL ON `\\_treadle`.*", "ALL ON shop.*", "ALL ON theirs.*")


def name_user(url: str) -> str:
    return MysqlUrl.parse(url).user or ""


def test_a_user_for_questions_may_explain_and_show_and_reads_what_it_may(
    tmp_path: Path, mariadb_server: "MariaServer"
) -> None:
    with (
        mariadb_server.lend_user(*LOADS) as url,
        mariadb_server.lend_user() as reader,
        serve_questions(tmp_path / "data", url, {"query_url": reader}) as scene,
    ):
        status, code, words = scene.refusal("SELECT * FROM shop.orders")
        assert (status, code) == (400, "InvalidStatement")
        assert "command denied" in words
        mariadb_server.execute(f"GRANT SELECT ON shop.orders TO {name_user(reader)}")
        assert len(scene.rows("SELECT * FROM shop.orders")) == 2
        assert scene.rows("SELECT CURRENT_USER()") == [[f"{name_user(reader)}@%"]]
        assert scene.rows("SHOW TABLES FROM shop") == [["orders"]]
        assert scene.rows("EXPLAIN SELECT * FROM shop.orders")
        for statement in (
            "DELETE FROM shop.orders RETURNING id",
            "DELETE FROM shop.orders",
            "SET PASSWORD = PASSWORD('mine')",
            "COMMIT",
            "KILL 1",
            "SELECT ?",
            "SELECT 1 INTO OUTFILE '/tmp/treadle-test'",
        ):
            assert scene.refusal(statement)[:2] == (400, "InvalidStatement"), statement
        assert len(scene.rows("SELECT * FROM shop.orders")) == 2
        # Rows are looked at with the user that loads.
        assert scene.newest("orders").status_code == 200
        other = add_tenant(scene)
        other.use("theirs")
        scene.load(other)
        assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)
    mariadb_server.empty()


def test_accounts_that_share_a_server_ask_with_users_of_their_own(
    tmp_path: Path, mariadb_server: "MariaServer"
) -> None:
    with (
        mariadb_server.lend_user(*LOADS) as url,
        mariadb_server.lend_user("SELECT ON shop.*") as reader,
        serve_questions(tmp_path / "data", url) as scene,
    ):
        other = add_tenant(scene)
        other.use("theirs")
        scene.load(other)
        store = scene.tenants.rig.store
        [row] = store.destinations.list_destinations(scene.tenants.a.account)
        assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)
        store.destinations.set_query_url(row.id, reader)
        assert scene.rows("SELECT count(*) FROM shop.orders") == [[2]]
        assert "command denied" in scene.refusal("SELECT * FROM theirs.orders")[2]
        assert scene.refusal("SELECT 1", tenant=other) == (403, "AccessDenied", NOT_ALONE)
        # A user who can read more than it should runs nothing.
        mariadb_server.execute(f"GRANT SELECT (id) ON theirs.orders TO {name_user(reader)}")
        refused = scene.refusal("SELECT 1")
        assert refused == (403, "AccessDenied", ROLE_READS_TOO_MUCH)
    mariadb_server.empty()


@pytest.mark.parametrize("by_role", [False, True])
def test_a_user_who_may_read_files_runs_no_statement(
    tmp_path: Path, mariadb_server: "MariaServer", by_role: bool
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(mariadb_server.lend_user(*LOADS))
        user = name_user(url)
        if by_role:
            mariadb_server.execute("CREATE ROLE readers", "GRANT FILE ON *.* TO readers")
            stack.callback(mariadb_server.execute, "DROP ROLE readers")
            mariadb_server.execute(
                f"GRANT readers TO {user}", f"SET DEFAULT ROLE readers FOR {user}"
            )
        else:
            mariadb_server.execute(f"GRANT FILE ON *.* TO {user}")
        scene = stack.enter_context(serve_questions(tmp_path / "data", url))
        status, code, words = scene.refusal("SELECT LOAD_FILE('/etc/hostname')")
        assert (status, code) == (403, "AccessDenied")
        assert "allowed FILE" in words
    mariadb_server.empty()
