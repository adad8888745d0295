"""Rows of tables and statements over HTTP, with the desk that answers them, on both databases."""

import csv
import io
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.acceptance.tenants import Tenant
from tests.integration.desk.question_scene import (
    Scene,
    add_tenant,
    lend_plain_role,
    parse_exact,
    serve_questions,
)
from tests.kinds import some_at_release
from tests.servers.postgres import PostgresServer
from tests.servers.processes import runs
from tests.servers.treadle import eventually

from treadle.desk import question_desk
from treadle.desk.question_desk import QuestionDesk
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.reach import NOT_ALONE, ROLE_READS_TOO_MUCH
from treadle.destinations.registry import make_destination
from treadle.errors import RequestRefusedError
from treadle.loader.destination_loader import HELD_SECONDS_MAX
from treadle.questions.channel import SOCKET_NAME
from treadle.questions.client import DeskCall, DeskClient, PlannedQuestion
from treadle.questions.orders import QuestionKind

SLOW = "SELECT count(*) FROM {series} a, {series} b, {series} c"
SERIES = {"duckdb": "range(100000)", "postgresql": "generate_series(1, 100000)"}


def slow(scene: Scene) -> str:
    """A statement that takes hours."""
    return SLOW.format(series=SERIES[scene.kind])


@contextmanager
def open_place(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give the URL of a database whose role is no superuser; None for the file of the folder."""
    if request.param == "duckdb":
        yield None
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with lend_plain_role(server) as found:
        yield found


@pytest.fixture(params=["duckdb", "postgres"], scope="module")
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A scene that tests look at, and leave as it is."""
    with open_place(request) as place:
        folder = tmp_path_factory.mktemp("steady") / "data"
        with serve_questions(folder, place, {"query_seconds": 60.0}) as found:
            yield found


@pytest.fixture(params=["duckdb", *some_at_release("postgres")])
def fresh_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with (
        open_place(request) as place,
        serve_questions(tmp_path / "data", place, {"query_seconds": 60.0}) as found,
    ):
        yield found


# Answers ------------------------------------------------------------------------------------------


def test_the_newest_rows_of_a_table(scene: Scene) -> None:
    answer = scene.newest("orders")
    assert answer.status_code == 200, answer.text
    body = parse_exact(answer.text)
    names = [column["name"] for column in body["columns"]]
    assert {"id", "name", "big", "price", "_sdc_batched_at"} <= set(names)
    rows = [dict(zip(names, row, strict=True)) for row in body["rows"]]
    assert [row["id"] for row in rows] == ["2", "1"]  # the later sequence first
    assert [row["big"] for row in rows] == ["-1", "9223372036854775807"]
    assert (body["row_count"], body["truncated"]) == ("2", False)
    assert rows[0]["name"] is None
    assert rows[0]["_sdc_batched_at"].endswith("Z")
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert answer.headers["treadle-row-count"] == "2"

    short = scene.newest("orders", "?limit=1").json()
    assert (len(short["rows"]), short["truncated"]) == (1, True)
    sheet = scene.newest("orders", "?format=csv")
    assert sheet.headers["content-type"] == "text/csv;charset=UTF-8"
    assert "attachment" in sheet.headers["content-disposition"]
    assert len(list(csv.reader(io.StringIO(sheet.text)))) == 3
    assert scene.newest("orders", Accept="text/csv").text == sheet.text


def test_rows_that_are_not_there(scene: Scene) -> None:
    for path in ("nix", "x/y", "%22%3B", "_sdc_rejected"):
        answer = scene.newest(path)
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"] == "NotLoaded"
    assert scene.newest("orders", "?limit=1001").status_code == 400
    assert scene.newest("orders", "?format=xml").status_code == 400
    unknown = replace(scene.tenants.a, source_id=10**6)
    assert scene.newest("orders", tenant=unknown).status_code == 404


VALUES = {
    "duckdb": (
        "SELECT 170141183460469231731687303715884105727::HUGEINT, 0.1::DOUBLE, 1e300::DOUBLE,"
        " 'nan'::DOUBLE, '-inf'::DOUBLE, 1.10::DECIMAL(9,2), true, NULL, 'ä''\"\n',"
        " '\\x00\\xFF'::BLOB, '{\"a\": [1.10]}'::JSON, TIMESTAMPTZ '2024-01-02 03:04:05.25+02',"
        " TIMESTAMP '2024-01-02 03:04:05', DATE '2024-01-02', INTERVAL 1 MONTH, [1, 2],"
        " TIMESTAMPTZ 'infinity'"
    ),
    "postgresql": (
        "SELECT 170141183460469231731687303715884105727::numeric, 0.1::float8, 1e300::float8,"
        " 'nan'::float8, '-inf'::float8, 1.10::numeric(9,2), true, NULL, E'ä''\"\\n',"
        " '\\x00ff'::bytea, '{\"a\": [1.10]}'::json, timestamptz '2024-01-02 03:04:05.25+02',"
        " timestamp '2024-01-02 03:04:05', date '2024-01-02', interval '1 month', array[1, 2],"
        " timestamptz 'infinity'"
    ),
}


def test_values_are_as_exact_as_in_the_database(scene: Scene) -> None:
    answer = scene.ask(VALUES[scene.kind])
    assert answer.status_code == 200, answer.text
    [row] = parse_exact(answer.text)["rows"]
    assert row[:10] == [
        *("170141183460469231731687303715884105727", "0.1", row[2], "NaN", "-Infinity", "1.10"),
        *(True, None, "ä'\"\n", "AP8="),
    ]
    assert float(row[2]) == 1e300
    assert row[10] == {"a": ["1.10"]}
    assert row[11:14] == ["2024-01-02T01:04:05.25Z", "2024-01-02 03:04:05", "2024-01-02"]
    assert row[14] in ("1 month", "1 mon")
    assert row[15] in ("[1, 2]", "{1,2}")
    assert row[16] == "infinity"
    if scene.kind == "duckdb":
        assert scene.rows('SELECT 1 AS a, 2 AS a, 3 AS "x y"') == [[1, 2, 3]]
    else:
        assert scene.rows('SELECT 1 AS a, 2 AS a, 3 AS "x y"') == [[1, 2, 3]]


def test_a_statement_in_each_form_and_what_is_left_out(scene: Scene) -> None:
    answer = scene.ask("SELECT id, name FROM shop.orders ORDER BY id; ", limit=1).json()
    assert answer["rows"] == [[1, "one"]]
    assert answer["truncated"] is True
    assert [column["name"] for column in answer["columns"]] == ["id", "name"]
    assert answer["milliseconds"] > 0
    assert scene.rows("SELECT id FROM shop.orders WHERE false") == []
    assert scene.rows("WITH x AS (SELECT 1 AS n) SELECT n FROM x -- and a comment") == [[1]]
    assert scene.rows("VALUES (1), (2)") == [[1], [2]]
    many = f"SELECT 1 FROM {SERIES[scene.kind]} a, {SERIES[scene.kind]} b"
    answer = scene.ask(many).json()
    assert (answer["row_count"], answer["truncated"]) == (1000, True)
    sheet = scene.ask(f"SELECT '=1+1' AS x FROM {SERIES[scene.kind]}", limit=100_000, format="csv")
    assert sheet.headers["treadle-truncated"] == "false"
    assert sheet.text.count("\r\n") == 100_001
    safe = scene.ask("SELECT '=1+1' AS x", format="csv-safe")
    assert safe.text == "x\r\n'=1+1\r\n"


def test_what_is_wrong_is_told_in_the_databases_words_with_its_place(scene: Scene) -> None:
    for statement, place in (
        ("SELECT *\n  FROM nix", {"line": 2, "column": 8, "character": 16}),
        ("SELEC 1", {"line": 1, "column": 1, "character": 0}),
        ("SELECT nix FROM shop.orders", {"line": 1, "column": 8, "character": 7}),
    ):
        answer = scene.ask(statement)
        assert answer.status_code == 400
        body = answer.json()
        assert body["error"] == "InvalidStatement"
        assert "rror" in body["data"]["message"].lower()
        assert body["data"]["position"] == place, (statement, body)
    status, code, words = scene.refusal("SELECT 1 / (id - id) || 'x' FROM shop.orders, nix")
    assert (status, code) == (400, "InvalidStatement")
    assert "nix" in words
    for empty in (";", "-- nothing"):
        assert scene.refusal(empty)[:2] == (400, "InvalidStatement")
    assert scene.refusal("SELECT 1; SELECT 2")[2] == "Expected one statement, found several."


def test_a_fault_in_a_late_row_is_told_and_no_half_answer_comes(scene: Scene) -> None:
    series = SERIES[scene.kind]
    name = "range" if scene.kind == "duckdb" else "n"
    statement = (
        f"SELECT CAST(CASE WHEN {name} = 90000 THEN 'x' ELSE '1' END AS integer) FROM {series}"
    )
    if scene.kind == "postgresql":
        statement = statement.replace(series, f"{series} AS n")
    status, code, words = scene.refusal(statement, limit=100_000)
    assert (status, code) == (400, "InvalidStatement")
    assert "'x'" in words or '"x"' in words


# Bounds -------------------------------------------------------------------------------------------


def ask_apart(scene: Scene, statement: str, **more: Any) -> tuple[threading.Thread, list[Any]]:
    """Ask in a thread; what is answered comes into the list."""
    found: list[Any] = []
    with_own = {**more}

    def ask() -> None:
        with httpx.Client(base_url=scene.tenants.rig.http.base_url, timeout=120) as http:
            found.append(
                http.post(
                    "/v1/query",
                    json={"sql": statement, **with_own},
                    headers={"Authorization": f"Bearer {scene.tenants.a.token}"},
                )
            )

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


def test_a_statement_that_is_stopped_ends_at_once(fresh_scene: Scene) -> None:
    scene = fresh_scene
    thread, found = ask_apart(scene, slow(scene), id="mine")
    eventually(lambda: len(scene.processes()) == 1)
    [process] = scene.processes()
    assert scene.ask("SELECT 1", id="mine").status_code == 409
    other = add_tenant(scene)
    assert scene.stop("mine", other).status_code == 404
    answer = scene.stop("mine")
    assert (answer.status_code, answer.json()) == (200, {"id": "mine", "stopped": True})
    thread.join(50)  # it would be ended after a minute
    assert not thread.is_alive()
    assert found[0].status_code == 400
    assert found[0].json()["error"] == "StatementStopped"
    assert not runs(process)
    assert scene.stop("mine").status_code == 404
    if scene.kind == "postgresql":
        eventually(lambda: not list_statements(scene))


def list_statements(scene: Scene) -> list[Any]:
    """What PostgreSQL still runs for questions."""
    with psycopg.connect(scene.tenants.url) as database:
        return database.execute(
            "SELECT query FROM pg_stat_activity WHERE state = 'active'"
            " AND pid <> pg_backend_pid() AND query LIKE '%generate_series%'"
            " AND datname = current_database()"
        ).fetchall()


def test_a_client_that_goes_away_ends_its_statement(fresh_scene: Scene) -> None:
    scene = fresh_scene
    with pytest.raises(httpx.ReadTimeout):
        scene.tenants.rig.http.post(
            "/v1/query",
            json={"sql": slow(scene)},
            headers={"Authorization": f"Bearer {scene.tenants.a.token}"},
            timeout=httpx.Timeout(60, read=2),
        )
    eventually(lambda: not scene.desk._running, 30)


def test_a_process_that_is_killed_costs_its_question_alone(fresh_scene: Scene) -> None:
    scene = fresh_scene
    thread, found = ask_apart(scene, slow(scene))
    eventually(lambda: len(scene.processes()) == 1)
    os.kill(scene.processes()[0], signal.SIGKILL)
    thread.join(30)
    assert found[0].status_code == 503
    assert found[0].json()["error"] == "TryLater"
    assert "ended before it was done" in found[0].json()["data"]["message"]
    assert found[0].headers["retry-after"] == "2"
    assert scene.rows("SELECT 1") == [[1]]
    assert list(scene.desk.answers.iterdir()) == []


def test_two_questions_at_once_and_a_third_one_waits_or_is_refused(
    fresh_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = fresh_scene
    monkeypatch.setattr(question_desk, "PLACE_SECONDS_MAX", 0.5)
    asked = [ask_apart(scene, slow(scene), id=f"q{number}") for number in range(2)]
    eventually(lambda: len(scene.processes()) == 2)
    status, code, words = scene.refusal("SELECT 1")
    assert (status, code) == (503, "TryLater")
    assert "questions are answered at once" in words
    for number in range(2):
        assert scene.stop(f"q{number}").status_code == 200
    for thread, _ in asked:
        thread.join(30)
    assert scene.rows("SELECT 1") == [[1]]


def test_one_of_several_accounts_leaves_a_place_for_others(
    fresh_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = fresh_scene
    other = add_tenant(scene)
    other.use("theirs")
    scene.load(other)
    monkeypatch.setattr(question_desk, "PLACE_SECONDS_MAX", 0.5)
    held = threading.Event()
    take = QuestionDesk._take_place

    def hold(self: QuestionDesk, key: tuple[int, str], places: int, *, is_long: bool) -> Any:
        held.set()
        return take(self, key, places, is_long=is_long)

    monkeypatch.setattr(QuestionDesk, "_take_place", hold)
    with scene.desk._lock:
        scene.desk._running[(scene.tenants.a.account, "x")] = question_desk.RunningQuestion()
    answer = scene.newest("orders")
    assert held.is_set()
    assert answer.status_code == 503
    assert scene.newest("orders", tenant=other).status_code == 200


def warm_process(scene: Scene) -> int:
    """The process that answers a question, once it waits for the next one."""
    scene.rows("SELECT * FROM shop.orders")
    eventually(lambda: not scene.desk._running and bool(scene.desk._warm))
    number = scene.desk._warm[-1][1].process_id
    assert number is not None
    return number


def test_a_warm_process_answers_at_once_and_is_ended_when_idle(scene: Scene) -> None:
    number = warm_process(scene)
    for _ in range(10):
        assert warm_process(scene) == number  # what takes time is to start another one
    scene.desk.idle_seconds = 0.0
    eventually(lambda: not scene.desk._warm)
    scene.desk.idle_seconds = 300.0
    eventually(lambda: not runs(number))
    assert scene.rows("SELECT 1") == [[1]]


def test_a_desk_rests_when_nothing_was_asked_for_a_while(scene: Scene, tmp_path: Path) -> None:
    errands = [True]
    folder = tmp_path / "other"
    folder.mkdir()
    desk = QuestionDesk(folder, 10.0, rest_seconds=0.5, may_rest=lambda: not errands[0])
    woken = threading.Event()
    resting = threading.Thread(target=desk.run)
    resting.start()
    path = folder / SOCKET_NAME
    eventually(path.exists)
    time.sleep(2.5)
    assert resting.is_alive()  # a check is under way
    errands[0] = False
    resting.join(30)
    assert not resting.is_alive()
    assert not path.exists()

    client = DeskClient(folder, woken.set)
    assert not client.stop("x", 1)  # where nobody answers, nothing is under way
    call = client.make_call(PlannedQuestion(QuestionKind.DOCTOR, "x", 1, 1, None))
    asking = threading.Thread(target=lambda: catch_refusal(call))
    asking.start()
    assert woken.wait(30)
    call.abandon()
    asking.join(30)
    assert not asking.is_alive()


def catch_refusal(call: DeskCall) -> None:
    with suppress(RequestRefusedError):
        call.ask()


def test_a_desk_that_is_away_is_told_and_one_that_comes_back_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.questions.client.CONNECT_SECONDS_MAX", 60.0)
    path = scene.tenants.rig.config.data / SOCKET_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(path.with_name("away"))
    thread, found = ask_apart(scene, "SELECT 1")
    time.sleep(0.3)
    path.with_name("away").rename(path)
    thread.join(30)
    assert found[0].status_code == 200
    monkeypatch.setattr("treadle.questions.client.CONNECT_SECONDS_MAX", 1.0)
    path.rename(path.with_name("away"))
    assert scene.refusal("SELECT 1")[:2] == (503, "TryLater")
    path.with_name("away").rename(path)


def holds_file(scene: Scene) -> bool:
    """Whether a process that answers has opened the file of the destination."""
    file = Path(scene.tenants.url.partition("://")[2])
    return any(
        link.exists() and link.samefile(file)
        for process in scene.processes()
        for link in Path(f"/proc/{process}/fd").iterdir()
    )


def test_the_loader_goes_first_and_questions_share_a_file(tmp_path: Path) -> None:
    with serve_questions(tmp_path / "data", None, {"query_seconds": 60.0}) as scene:
        thread, found = ask_apart(scene, slow(scene), id="slow")
        eventually(lambda: holds_file(scene))
        assert scene.rows("SELECT 1") == [[1]]  # beside it
        priority = LoaderPriority(scene.tenants.rig.config.turns_path)
        identity = make_destination(scene.tenants.url).identity
        with priority.claim(identity):
            waiting, later = ask_apart(scene, "SELECT 2")
            time.sleep(0.5)
            assert not later
        waiting.join(30)
        assert later[0].json()["rows"] == [[2]]
        scene.stop("slow")
        thread.join(30)
        assert found[0].status_code == 400


def test_loading_into_a_file_waits_for_a_question_and_goes_on(tmp_path: Path) -> None:
    with serve_questions(tmp_path / "data", None, {"query_seconds": 60.0}) as scene:
        thread, found = ask_apart(scene, slow(scene), id="slow")
        eventually(lambda: holds_file(scene))
        eventually(lambda: LoaderPriority(turns(scene)).is_taken(identity(scene)))
        assert scene.tenants.a.push("later", (1, {"id": 1})).status_code == 201
        loading = threading.Thread(target=scene.tenants.load)
        loading.start()
        loading.join(HELD_SECONDS_MAX + 1.0)
        assert loading.is_alive()
        assert scene.stop("slow").status_code == 200
        loading.join(60)
        thread.join(60)
        assert not loading.is_alive()
        assert found[0].json()["error"] == "StatementStopped"
        [row] = scene.tenants.rig.store.destinations.list_destinations(scene.tenants.a.account)
        assert row.trouble is None
        assert scene.newest("later").json()["row_count"] == 1


def turns(scene: Scene) -> Path:
    return scene.tenants.rig.config.turns_path


def identity(scene: Scene) -> str:
    return make_destination(scene.tenants.url).identity


# Who may ask what ---------------------------------------------------------------------------------


def test_a_setting_takes_statements_away_and_leaves_rows(tmp_path: Path) -> None:
    with serve_questions(tmp_path / "data", None, {"console_query": "off"}) as scene:
        status, code, words = scene.refusal("SELECT 1")
        assert (status, code) == (403, "AccessDenied")
        assert "console_query" in words
        assert scene.newest("orders").status_code == 200


def test_one_account_reads_nothing_of_another_one(fresh_scene: Scene) -> None:
    scene = fresh_scene
    other = add_tenant(scene)
    answer = scene.ask("SELECT * FROM shop.orders")
    if scene.kind == "duckdb":
        # Everything in the file is still the first account's.
        assert answer.json()["row_count"] == 2
    else:
        # The other one's sessions have the same role, which could be seen and ended.
        assert answer.status_code == 403
    other.use("theirs")
    for _ in range(2):
        for tenant, statement in (
            (scene.tenants.a, "SELECT 1"),
            (scene.tenants.a, "SELECT * FROM theirs.orders"),
            (other, "SELECT * FROM shop.orders"),
            (other, "SELECT * FROM _treadle.schemas"),
        ):
            refused = scene.refusal(statement, tenant=tenant)
            assert refused == (403, "AccessDenied", NOT_ALONE), statement
        scene.load(other)
    # Each looks at its own tables all the same.
    assert scene.newest("orders").json()["row_count"] == 2
    assert scene.newest("orders", tenant=other).json()["row_count"] == 2
    other.source_id, other.schema = scene.tenants.a.source_id, scene.tenants.a.schema
    assert scene.newest("orders", tenant=other).status_code == 404


def move_away(scene: Scene, tenant: Tenant, place: Path) -> None:
    """Have an account load into a file of its own."""
    url = f"duckdb://{place}"
    scene.tenants.rig.store.destinations.set_default_destination(
        tenant.account, "duckdb", url, make_destination(url).identity
    )


def test_an_account_with_a_database_of_its_own_asks_it(fresh_scene: Scene, tmp_path: Path) -> None:
    scene = fresh_scene
    other = add_tenant(scene)
    move_away(scene, other, tmp_path / "theirs.duckdb")
    other.use("shop")
    scene.load(other)
    assert scene.rows("SELECT count(*) FROM shop.orders", tenant=other) == [[2]]
    assert scene.rows("SELECT count(*) FROM shop.orders") == [[2]]
    # What a database holds that nobody's load made is no account's own.
    scene.tenants.run_as_treadle("CREATE SCHEMA finance")
    assert scene.rows("SELECT 1") == [[1]]
    scene.tenants.run_as_treadle("CREATE TABLE finance.salaries (n integer)")
    assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)
    assert scene.rows("SELECT 1", tenant=other) == [[1]]


def test_an_account_that_names_the_file_of_another_one_reads_nothing(tmp_path: Path) -> None:
    with serve_questions(tmp_path / "data", None) as scene:
        other = add_tenant(scene)
        answer = scene.tenants.rig.http.post(
            "/v4/destinations",
            json={
                "type": "duckdb",
                "properties": {"path": "warehouse.duckdb"},
                "ignore_unmapped_sources": True,
            },
            headers={"Authorization": f"Bearer {other.token}"},
        )
        assert answer.status_code == 200, answer.text
        for more in ({}, {"destination_id": answer.json()["id"]}):
            refused = scene.refusal("SELECT * FROM shop.orders", tenant=other, **more)
            assert refused == (403, "AccessDenied", NOT_ALONE)


def test_another_accounts_destination_is_unknown(fresh_scene: Scene) -> None:
    scene = fresh_scene
    [row] = scene.tenants.rig.store.destinations.list_destinations(scene.tenants.a.account)
    assert scene.ask("SELECT 1", destination_id=row.id).status_code == 200
    other = add_tenant(scene)
    answer = scene.ask("SELECT 1", tenant=other, destination_id=row.id)
    assert (answer.status_code, answer.text) == (404, '"invalid connection id"')


def test_a_role_that_reaches_the_machine_is_refused(tmp_path: Path, postgres_database: str) -> None:
    with serve_questions(tmp_path / "data", postgres_database) as scene:
        status, code, words = scene.refusal("SELECT 1")
        assert (status, code) == (403, "AccessDenied")
        assert words.startswith("The role treadle_test is a superuser.")
        assert scene.newest("orders").status_code == 200


@pytest.mark.parametrize(
    "right", ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"]
)
def test_a_role_that_can_become_one_that_reaches_the_machine_is_refused(
    right: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with (
        lend_plain_role(postgres_server) as url,
        serve_questions(tmp_path / "data", url) as scene,
    ):
        assert scene.rows("SELECT 1") == [[1]]
        name = url.partition("://")[2].partition(":")[0]
        with psycopg.connect(postgres_server.url(), autocommit=True) as database:
            database.execute(f"CREATE ROLE {name}_step NOLOGIN NOINHERIT".encode())
            try:
                database.execute(f"GRANT {right} TO {name}_step".encode())
                database.execute(f"GRANT {name}_step TO {name}".encode())
                words = scene.refusal("SELECT 1")[2]
            finally:
                database.execute(f"DROP ROLE {name}_step".encode())
        assert right in words


def test_a_role_for_questions_may_explain_and_show_and_reads_what_it_may(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with lend_plain_role(postgres_server) as spare, lend_plain_role(postgres_server) as url:
        name = spare.partition("://")[2].partition(":")[0]
        database = url.rpartition("/")[2]
        reader = postgres_server.url(database, user=name, password="secret")
        with serve_questions(tmp_path / "data", url, {"query_url": reader}) as scene:
            status, code, words = scene.refusal("SELECT * FROM shop.orders")
            assert (status, code) == (400, "InvalidStatement")
            assert "permission denied" in words
            scene.tenants.run_as_treadle(f"GRANT USAGE ON SCHEMA shop TO {name}")
            scene.tenants.run_as_treadle(f"GRANT SELECT ON shop.orders TO {name}")
            assert len(scene.rows("SELECT * FROM shop.orders")) == 2
            assert scene.rows("SELECT session_user::text") == [[name]]
            assert scene.rows("SHOW TimeZone") == [["UTC"]]
            assert "Seq Scan" in json.dumps(scene.rows("EXPLAIN SELECT * FROM shop.orders"))
            for statement in (
                "DELETE FROM shop.orders RETURNING id",
                "COPY shop.orders TO STDOUT",
                "COPY shop.orders TO PROGRAM 'id'",
                "CREATE TABLE x (n integer)",
                "DO $$ BEGIN COMMIT; END $$",
                "SET default_transaction_read_only = off",
            ):
                assert scene.refusal(statement)[:2] == (400, "InvalidStatement"), statement
            # Rows are looked at with the role that loads.
            assert scene.newest("orders").status_code == 200
            other = add_tenant(scene)
            other.use("theirs")
            scene.load(other)
            assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)


def test_accounts_that_share_a_database_ask_with_roles_of_their_own(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with (
        lend_plain_role(postgres_server) as spare,
        lend_plain_role(postgres_server) as url,
        serve_questions(tmp_path / "data", url) as scene,
    ):
        other = add_tenant(scene)
        other.use("theirs")
        scene.load(other)
        name = spare.partition("://")[2].partition(":")[0]
        reader = postgres_server.url(url.rpartition("/")[2], user=name, password="secret")
        store = scene.tenants.rig.store
        [row] = store.destinations.list_destinations(scene.tenants.a.account)
        assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)
        store.destinations.set_query_url(row.id, reader)
        scene.tenants.run_as_treadle(f"GRANT USAGE ON SCHEMA shop TO {name}")
        scene.tenants.run_as_treadle(f"GRANT SELECT ON shop.orders TO {name}")
        assert scene.rows("SELECT count(*) FROM shop.orders") == [[2]]
        assert "permission denied" in scene.refusal("SELECT * FROM theirs.orders")[2]
        assert scene.refusal("SELECT 1", tenant=other) == (403, "AccessDenied", NOT_ALONE)
        # A role that can read more than it should runs nothing.
        scene.tenants.run_as_treadle(f"GRANT USAGE ON SCHEMA theirs TO {name}")
        scene.tenants.run_as_treadle(f"GRANT SELECT (id) ON theirs.orders TO {name}")
        refused = scene.refusal("SELECT 1")
        assert refused == (403, "AccessDenied", ROLE_READS_TOO_MUCH)
        store.destinations.set_query_url(row.id, None)
        assert scene.refusal("SELECT 1") == (403, "AccessDenied", NOT_ALONE)
