"""`treadle push` against a real HTTP server that notes what it gets."""

import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.import_server import Answer, ImportServer

from treadle.client import request_retry


@pytest.fixture
def server() -> Iterator[ImportServer]:
    with ImportServer() as started:
        yield started


@pytest.fixture
def source(
    treadle: Treadle, server: ImportServer, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """An account with one source; pushes go to the server."""
    monkeypatch.setenv("TREADLE_PUSH_URL", server.url)
    treadle("account create --client-id 4321")
    made: dict[str, Any] = treadle("source create Orders --json").json
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "WAIT_SECONDS_FIRST", 0.01)


def written(path: Path, count: int, form: str = "lines") -> Path:
    records = [{"id": n, "name": f"Finn {n}"} for n in range(1, count + 1)]
    if form == "array":
        path.write_text(json.dumps(records, indent=1))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def push(treadle: Treadle, file: Path, *words: str) -> Any:
    return treadle("push", str(file), "--table", "t", "--key", "id", *words)


@pytest.mark.parametrize("form", ["lines", "array"])
def test_every_record_arrives_in_order_with_growing_sequences(
    form: str, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    before = time.time_ns()
    file = written(tmp_path / "records", 2_501, form)
    done = push(treadle, file, "--batch-records", "100", "--connections", "4")
    assert done.code == 0, done.err
    assert re.fullmatch(
        r"Pushed 2,501 records to t in \d+\.\d s \([\d,]+ records/s\)\.\n", done.out
    )
    assert done.err == ""
    assert len(server.requests) == 26
    records = sorted(server.records, key=lambda record: int(record["sequence"]))
    assert [record["data"]["id"] for record in records] == list(range(1, 2_502))
    sequences = [record["sequence"] for record in records]
    assert sequences == list(range(sequences[0], sequences[0] + 2_501))
    assert before < sequences[0] < time.time_ns() < 2**63
    first = records[0]
    assert list(first) == [
        "client_id",
        "table_name",
        "action",
        "key_names",
        "sequence",
        "data",
    ]
    assert (first["client_id"], first["table_name"]) == (4321, "t")
    assert (first["action"], first["key_names"]) == ("upsert", ["id"])
    assert {token for _, token, _ in server.asked} == {f"Bearer {source['access_token']}"}


def test_a_later_push_of_the_same_file_wins(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 10)
    assert push(treadle, file).code == push(treadle, file).code == 0
    first, second = server.requests
    assert max(r["sequence"] for r in first) < min(r["sequence"] for r in second)


def test_the_sequence_may_come_from_the_data(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = tmp_path / "records"
    file.write_text('{"id":1,"k":"a","at":7}\n{"id":2,"k":"b","at":-5}\n')
    assert push(treadle, file, "--key", "k", "--sequence-field", "at").code == 0
    assert [record["sequence"] for record in server.records] == [7, -5]
    assert server.records[0]["key_names"] == ["id", "k"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "answer",
    [Answer(503), Answer(500), Answer(429), Answer(502, b"<html>"), Answer(0)],
    ids=lambda a: str(a.status),
)
def test_a_busy_server_is_tried_again(
    answer: Answer, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    server.answers.extend([answer, answer])
    done = push(treadle, written(tmp_path / "records", 10))
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert done.err.count("treadle: Waiting, as ") == done.err.count("\n") == 1
    assert len(server.asked) == 3
    assert len(server.records) == 10


@pytest.mark.usefixtures("quick")
def test_why_a_server_takes_nothing_is_said(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    server.reason = "The disk has 12 MB free, and 100 MB are kept free."
    server.answers.append(Answer(503, b'{"status":"ERROR"}'))
    done = push(treadle, written(tmp_path / "records", 1))
    assert done.code == 0
    assert (
        f'treadle: Waiting, as {server.url} answers 503 {{"status":"ERROR"}}; its status says: '
        "The disk has 12 MB free, and 100 MB are kept free"
    ) in done.err


@pytest.mark.usefixtures("quick")
def test_the_server_says_how_long_to_wait(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    server.answers.append(Answer(503, headers={"Retry-After": "1"}))
    assert push(treadle, written(tmp_path / "records", 1)).code == 0
    (_, _, first), (_, _, second) = server.asked
    assert second - first >= 1.0


def test_a_server_that_gives_no_receipts_cannot_be_waited_for(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    done = push(treadle, written(tmp_path / "records", 10), "--wait")
    assert done.code == 2
    assert done.out.startswith("Pushed 10 records to t in ")
    assert done.err == (
        f"treadle: {server.url} gives no receipts that could be followed; only a treadle server "
        "can be waited for; all records are accepted; they load in the background "
        "(`treadle ledger`).\n"
    )


@pytest.mark.usefixtures("quick")
def test_trying_ends_after_the_time_given(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    begun = time.monotonic()
    done = push(
        treadle, written(tmp_path / "records", 3), "--url", nobody, "--retry-seconds", "0.2"
    )
    assert time.monotonic() - begun > 0.2
    assert (done.code, done.out) == (2, "")
    said = done.err.splitlines()[-1]
    assert said.startswith(
        "treadle: Record 1 to record 3 could not be sent within 0.2 seconds: "
        f"{nobody} cannot be reach"
    )
    assert said.endswith("0 records were pushed; the same command goes on from there.")


@pytest.mark.parametrize("connections", ["1", "4"])
def test_a_refused_record_is_found_and_named(
    connections: str,
    tmp_path: Path,
    treadle: Treadle,
    source: dict[str, Any],
    server: ImportServer,
) -> None:
    server.bad = lambda data: data["id"] in (537, 538)
    file = written(tmp_path / "records", 1_000)
    done = push(treadle, file, "--batch-records", "100", "--connections", connections)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        'treadle: The server refuses record 537: 422 {"status":"ERROR",'
        '"error":"Request cannot be processed; see errors.",'
    )
    assert "500 records were pushed before; correct the file and run the same" in done.err
    assert {r["data"]["id"] for r in server.records} >= set(range(1, 501))
    assert len([path for path, _, _ in server.asked if path == "/v2/import/validate"]) <= 14


def test_a_refused_token_ends_the_push_at_once(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    body = b'{"error":"Forbidden","errors":{"error":"Connection is not active."}}'
    server.answers.append(Answer(401, body))
    done = push(treadle, written(tmp_path / "records", 3))
    assert done.code == 2
    assert f"could not be sent: {server.url} answers 401 {body.decode()}: the token " in done.err
    assert "`treadle token list SOURCE` their tokens" in done.err
    assert len(server.asked) == 1
    assert source["access_token"] not in done.err


def test_a_server_that_is_something_else_is_not_believed(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    server.answers.append(Answer(200, b"<html>welcome</html>"))
    done = push(treadle, written(tmp_path / "records", 3))
    assert done.code == 2
    assert "answers 200 without acknowledging the records; is it the URL of a treadle" in done.err


def test_a_bad_line_ends_the_push_after_the_records_before_it(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 25)
    with file.open("a") as out:
        out.write('{"name":"no key"}\n{"id":27}\n')
    done = push(treadle, file, "--batch-records", "10")
    assert done.code == 2
    assert done.err == (
        "treadle: Record 26 has no key field 'id'; 25 records were pushed before; correct the file "
        "and run the same command again.\n"
    )
    assert sorted(record["data"]["id"] for record in server.records) == list(range(1, 26))


def bookmarks(data: Path) -> list[Path]:
    return sorted((data / "push").glob("*")) if (data / "push").exists() else []


@pytest.mark.parametrize("form", ["lines", "array"])
def test_a_push_that_was_ended_goes_on_behind_what_was_acknowledged(
    form: str,
    data: Path,
    tmp_path: Path,
    treadle: Treadle,
    source: dict[str, Any],
    server: ImportServer,
) -> None:
    file = written(tmp_path / "records", 1_000, form)
    words = ("--batch-records", "100", "--connections", "1")
    server.bad = lambda data: data["id"] == 537
    assert push(treadle, file, *words).code == 2
    assert len(bookmarks(data)) == 1
    assert len(server.requests) == 5

    server.bad = lambda _: False
    done = push(treadle, file, *words)
    assert done.code == 0
    assert done.out.startswith("Pushed 500 records to t in ")
    assert done.out.endswith(", after 500 of an earlier run.\n")
    assert len(server.requests) == 10
    assert [r["data"]["id"] for r in server.records] == list(range(1, 1_001))
    sequences = [r["sequence"] for r in server.records]
    assert sequences == list(range(sequences[0], sequences[0] + 1_000))
    assert bookmarks(data) == []


def test_without_a_key_nothing_is_stored_twice(
    data: Path, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    """The second batch is stored, and its answer lost: the next run sends it with the same key."""
    file = written(tmp_path / "records", 45)
    words = ("push", str(file), "--table", "t", "--connections", "1")
    server.bad = lambda data: data["id"] == 25
    assert treadle(*words, "--batch-records", "10").code == 2
    (bookmark,) = bookmarks(data)
    progress = json.loads(bookmark.read_text())
    assert progress["records"] == 20
    bookmark.write_text(json.dumps(progress | {"records": 10}))
    server.bad = lambda _: False
    done = treadle(*words, "--batch-records", "7", "--wait")
    assert done.out.endswith(", after 10 of an earlier run.\n"), done.err
    assert "--wait follows the records of this run, not the 10 of an earlier run: " in done.err
    assert [record["data"]["id"] for record in server.records] == list(range(1, 46))
    assert {tuple(record["key_names"]) for record in server.records} == {()}
    assert server.keys == [f"{progress['push_id']}-{start}" for start in (0, 10, 20, 30, 40)]


def test_a_first_request_whose_answer_is_lost_is_stored_once(
    data: Path, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 10)
    words = ("push", str(file), "--table", "t", "--retry-seconds", "0")
    server.cuts.append(True)
    ended = treadle(*words)
    assert ended.code == 2
    assert "0 records were pushed; the same command goes on from there" in ended.err
    assert len(bookmarks(data)) == len(server.requests) == 1
    done = treadle(*words)
    assert done.code == 0, done.err
    assert re.fullmatch(r"Pushed 10 records to t in [^,]*\.\n", done.out)
    assert [record["data"]["id"] for record in server.records] == list(range(1, 11))
    assert bookmarks(data) == []


def test_nothing_is_sent_where_the_push_cannot_be_remembered(
    data: Path, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    (data / "push").symlink_to(tmp_path / "missing" / "push")
    file = written(tmp_path / "records", 10)
    refused = push(treadle, file)
    assert refused.code == 2
    assert refused.err.endswith("; mend that, or push with --no-resume.\n")
    assert server.asked == []
    assert push(treadle, file, "--no-resume").code == 0


def test_files_of_any_form_are_pushed_in_order(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    written(tmp_path / "1.ndjson", 3)
    (tmp_path / "2.json").write_text('{\n "id": 4,\n "name": "Finn 4"\n}\n')
    (tmp_path / "3.csv.gz").write_bytes(gzip.compress(b"id,name\n5,Finn 5\n6,007\n"))
    done = treadle("push", f"{tmp_path}/[1-3]*", "--table", "t", "--key", "id")
    assert done.code == 0, done.err
    assert done.out.startswith("Pushed 6 records to t in ")
    records = sorted(server.records, key=lambda record: int(record["sequence"]))
    assert [record["data"]["id"] for record in records] == list(range(1, 7))
    assert records[5]["data"] == {"id": 6, "name": "007"}
    assert records[5]["schema"]["properties"]["id"] == {"type": ["null", "integer"]}
    assert "schema" not in records[3]
    done = treadle("push", f"{tmp_path}/x*", "--table", "t")
    assert f"No file fits the pattern {tmp_path}/x*." in done.err


def test_types_come_from_flags_and_from_the_schema_of_the_table(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("id,price,at\n1,1.5,2026-01-01 00:00:00\n")
    assert push(treadle, file, "--types", "text,id=integer").code == 0
    assert server.records[-1]["data"] == {"id": 1, "price": "1.5", "at": "2026-01-01 00:00:00"}
    price = {"type": "number", "multipleOf": 0.1}
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"properties": {"price": price}}))
    assert push(treadle, file, "--schema", str(schema)).code == 0
    assert server.records[-1]["schema"] == {"properties": {"price": price}}
    assert treadle("source schema orders t --set", str(schema)).code == 0
    assert push(treadle, file).code == 0
    properties = server.records[-1]["schema"]["properties"]
    assert properties["price"] == price
    assert properties["at"] == {"type": ["null", "string"], "format": "date-time"}
    assert server.records[-1]["data"]["at"] == "2026-01-01T00:00:00Z"
    assert "--types is to be auto, text or COLUMN" in push(treadle, file, "--types", "id=int").err
    assert "--delimiter is to be one" in push(treadle, file, "--delimiter", ",,").err


def test_a_mistake_in_one_of_several_files_is_named(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    first, second = written(tmp_path / "a", 2), tmp_path / "b"
    second.write_text('{"id":3}\n{"name":"x"}\n')
    done = treadle("push", str(first), "--table", "t", "--key", "id", str(second))
    assert done.err == (
        f"treadle: Record 2 of {second} has no key field 'id'; 3 records were pushed before; "
        "correct the file and run the same command again.\n"
    )


def test_no_resume_begins_anew(
    data: Path, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 20)
    server.bad = lambda data: data["id"] == 15
    assert push(treadle, file, "--batch-records", "10").code == 2
    server.bad = lambda _: False
    done = push(treadle, file, "--no-resume")
    assert done.out.startswith("Pushed 20 records")
    assert len(server.requests[-1]) == 20


def test_a_changed_file_and_another_table_begin_anew(
    data: Path, tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 20)
    server.bad = lambda data: data["id"] == 15
    assert push(treadle, file, "--batch-records", "10").code == 2
    server.bad = lambda _: False
    other = treadle("push", str(file), "--table", "u", "--key", "id")
    assert other.out.startswith("Pushed 20 records to u")
    written(file, 21)
    assert push(treadle, file).out.startswith("Pushed 21 records to t")


def start(file: str, *words: str, **further: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TREADLE, "push", file, "--table", "t", "--key", "id", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **further
    )


TREADLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from treadle.cli.main import main
sys.exit(main())
"""
"""A shell that runs the tests in the background has made them and their children deaf to Ctrl-C."""

PATIENCE_SECONDS = 120.0
"""For what must happen; a busy machine is slow."""


def test_ctrl_c_ends_quickly_and_the_next_run_goes_on(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    file = written(tmp_path / "records", 100)
    answers = [Answer(503, headers={"Retry-After": "60"})] * 5

    def busy_from_50_on(data: dict[str, Any]) -> bool:
        if data["id"] == 50:
            server.answers.extend(answers)
        return False

    server.bad = busy_from_50_on
    process = start(str(file), "--batch-records", "10", "--connections", "1")
    assert server.taken.wait(PATIENCE_SECONDS)
    while not server.answers or len(server.answers) == 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (130, "")
    assert re.search(r"treadle: Stopped; \d+ records were pushed; the same command goes on", err)
    assert "Traceback" not in err
    server.answers.clear()
    server.bad = lambda _: False
    done = push(treadle, file)
    assert re.match(r"Pushed \d+ records to t in .*, after \d+ of an earlier run", done.out)
    assert {r["data"]["id"] for r in server.records} == set(range(1, 101))


def test_standard_input_is_read_as_it_comes(
    data: Path, source: dict[str, Any], server: ImportServer
) -> None:
    process = start("-", "--batch-records", "2", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"id":1}\n{"id":2}\n{"id":3}\n{"id"')
    process.stdin.flush()
    assert server.taken.wait(PATIENCE_SECONDS), "full batches are sent while more is awaited"
    out, err = process.communicate(":4}\n", timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("Pushed 4 records to t in ")
    assert [r["data"]["id"] for r in server.records] == [1, 2, 3, 4]
    assert bookmarks(data) == []


def test_ctrl_c_while_standard_input_is_silent(
    data: Path, source: dict[str, Any], server: ImportServer
) -> None:
    process = start("-", "--batch-records", "1", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"id":1}\n{"id":2}\n')
    process.stdin.flush()
    assert server.taken.wait(PATIENCE_SECONDS)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 130
    assert process.stderr is not None
    assert "Fatal" not in process.stderr.read()
    process.communicate()


def test_memory_is_bounded_however_large_the_file(
    tmp_path: Path, source: dict[str, Any], server: ImportServer
) -> None:
    server.keep = False
    file = tmp_path / "records"
    line = json.dumps({"id": 1, "text": "x" * 1_000}) + "\n"
    with file.open("w") as out:
        for _ in range(400):
            out.write(line * 1_000)
    process = start(str(file))
    peak = 0
    # Not what wait4 says: that counts the memory of the test process before it became another.
    while process.poll() is None:
        peak = max(peak, resident_peak(process.pid))
        time.sleep(0.02)
    out_, _ = process.communicate()
    assert out_.startswith("Pushed 400,000 records")
    assert 0 < peak < 0.6 * file.stat().st_size


def resident_peak(pid: int) -> int:
    """The most bytes a running process ever held in memory; 0 once it has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def test_what_is_not_given_is_asked_for(
    data: Path, tmp_path: Path, treadle: Treadle, server: ImportServer
) -> None:
    file = written(tmp_path / "records", 1)
    assert "begin with `treadle account create`" in push(treadle, file).err
    treadle("account create")
    assert "make one with `treadle source create DISPLAY_NAME`" in push(treadle, file).err
    treadle("source create Orders")
    first = treadle("source create Customers --json").json
    assert "say which with --source: orders, customers." in push(treadle, file).err
    assert "There is no source 'nix'; there is " in push(treadle, file, "--source", "nix").err
    done = push(treadle, file, "--source", "customers", "--url", server.url)
    assert done.code == 0
    assert server.asked[-1][1] == f"Bearer {first['access_token']}"
    treadle("source pause orders")
    assert push(treadle, file, "--url", server.url + "/").code == 0
    treadle("source pause customers")
    told = push(treadle, file, "--url", server.url).err
    assert "All sources are paused (orders, customers)" in told
    assert "`treadle source unpause SOURCE`" in told
    treadle("source unpause customers")
    treadle(f"token revoke customers {first['token_id']}")
    done = push(treadle, file, "--url", server.url)
    assert "make one with `treadle token create customers`" in done.err
    assert done.code == 2


def test_a_token_that_is_given_is_used(
    data: Path,
    tmp_path: Path,
    treadle: Treadle,
    source: dict[str, Any],
    server: ImportServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = written(tmp_path / "records", 1)
    monkeypatch.setenv("TREADLE_PUSH_TOKEN", source["access_token"])
    assert push(treadle, file).code == 0
    assert server.records[-1]["client_id"] == 4321
    monkeypatch.setenv("TREADLE_PUSH_TOKEN", "at_of_another_server")
    assert push(treadle, file).code == 0
    assert "client_id" not in server.records[-1], "it is sent as a batch, which needs none"
    assert push(treadle, file, "--client-id", "9", "--data", str(tmp_path / "none")).code == 0
    assert server.records[-1]["client_id"] == 9
    assert server.asked[-1][1] == "Bearer at_of_another_server"


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing", "cannot be read: No such file or directory."), (".", "Is a directory.")],
)
def test_a_file_that_cannot_be_read(
    name: str, said: str, tmp_path: Path, treadle: Treadle, source: dict[str, Any]
) -> None:
    done = push(treadle, tmp_path / name)
    assert done.code == 2
    assert said in done.err


def test_an_empty_file_is_no_records(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any], server: ImportServer
) -> None:
    done = push(treadle, written(tmp_path / "records", 0))
    assert done.code == 0
    assert done.out.startswith("Pushed 0 records to t in ")
    assert server.asked == []


def test_a_url_that_is_none_is_named(
    tmp_path: Path, treadle: Treadle, source: dict[str, Any]
) -> None:
    file = written(tmp_path / "records", 1)
    done = push(treadle, file, "--url", "http://host:port")
    assert done.code == 2
    assert done.err.startswith("treadle: The URL of the server is not valid: Invalid port: 'port'")
    done = push(treadle, file, "--url", "ftp://host")
    assert "--url is to be a URL such as http://127.0.0.1:8484, not 'ftp://host'." in done.err


def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(
    tmp_path: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_PUSH_TOKEN", "at_s3cret\n")
    done = push(treadle, written(tmp_path / "records", 1))
    assert done.code == 2
    assert "TREADLE_PUSH_TOKEN is to be an Import API access token, not what is" in done.err
    assert "s3cret" not in done.err
