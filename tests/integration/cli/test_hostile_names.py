"""Whatever names and values were pushed, no command sends a terminal anything but text."""

import ast
import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import select
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.kinds import some_at_release

import treadle.cli
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.rejects import add_rejects
from treadle.store.schema import outcomes, tables
from treadle.store.trail_event import TargetKind, TrailAction, TrailOutcome, TrailTarget

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

HOSTILE = (
    "\x1b]0;pwned\x07\x1b[2J\x1b[H",  # sets the title, clears the screen
    "\x9b2J\x90q\x9c",  # the same with C1
    "\u202egnp.exe\u2066",  # written backwards
    "a\nTotal: 0 rejected\rb\u2028c\x85d\u2029e\x0bf\x0c",  # lines of its own
    "pay\u200b\u200d\ufeffpal\xad\u3164",  # looks like another name
    "\x08\x08\x7f\t",
    "[red]x[/red] \\x1b %s {0}",
    "=cmd|' /C calc'!A0",
)

NAME = "".join(HOSTILE[:6])


def find_unseen(shown: str) -> set[str]:
    """Characters that a terminal obeys or does not show, but line breaks."""
    return {one for one in shown if unicodedata.category(one) in UNSEEN and one != "\n"}


@pytest.fixture(params=["duckdb", *some_at_release("postgres")])
def shop(request: pytest.FixtureRequest, data: Path, treadle: Treadle) -> Iterator[Shop]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    made = Shop(data, treadle, url)
    for place, name in enumerate((NAME, *HOSTILE)):
        record = {"id": 1, "value": name, f"f{name}"[:20]: name, "nested": {name[:9]: [name]}}
        made.push(name, [record], first=place * 10)
        made.accept(name, [{"id": 2, "value": name, "odd": {"": name}}], first=place * 10 + 1)
    made.loader.load_once()
    made.store.accounts.create_account(NAME)
    made.store.destinations.set_trouble(
        made.store.destinations.list_destinations()[0].id, f"unreachable: {NAME}"
    )
    made.store.trail.record_event(
        TrailAction.DELETE_SOURCE,
        TrailTarget(TargetKind.SOURCE, NAME, NAME),
        TrailOutcome.REFUSED,
        detail={"asked": NAME},
    )
    _reject_first_record(made)
    yield made
    made.close()


def _reject_first_record(made: Shop) -> None:
    """Note a rejection with a hostile reason, as a destination may give one."""
    with made.store._database.write() as tx:
        table = tx.connection.execute(select(tables)).first()
        assert table is not None
        rejected = {"position": 1, "superseded": 0, "rejected": [[0, NAME]]}
        tx.connection.execute(
            tx.insert(outcomes)
            .values(log_id=table.log_id, table_id=table.id, **rejected)
            .on_conflict_do_nothing()
        )
        outcome = EntryOutcome(1, table.source_id, table.name, 0, (RecordRejection(0, NAME),))
        add_rejects(tx, table, table.log_id, 0, [outcome])


@pytest.fixture
def lines(shop: Shop, tmp_path: Path) -> list[list[str]]:
    file = tmp_path / "records"
    file.write_text(json.dumps({"id": 1, "value": NAME, "new": NAME, NAME: NAME}) + "\n")
    rows = "SELECT * FROM web." + _quote(_find_tables(shop)[0])
    odd = f"SELECT 'x' AS {_quote(NAME)}"
    return [
        ["account", "list"],
        ["source", "list"],
        ["source", "options", "web"],
        ["source", "options", "web", f"{NAME}=1"],
        ["source", "create", NAME],
        ["source", "create", "Fine", "--name", NAME],
        ["source", "pause", NAME],
        ["token", "list", "web"],
        ["token", "list", NAME],
        ["token", "revoke", "web", NAME],
        ["loads"],
        ["loads", "--table", NAME],
        ["loads", "--limit", NAME],
        ["ledger"],
        ["audit"],
        ["dbt", "--check", "--out", str(tmp_path)],
        ["dbt", "--check", "--out", NAME],
        ["dbt", "--prefix", NAME, "--out", str(tmp_path)],
        ["dbt", "--source", NAME, "--out", str(tmp_path)],
        ["trail"],
        ["trail", "--action", NAME],
        ["trail", "--since", NAME],
        ["rejects", "causes"],
        ["rejects", "list"],
        ["rejects", "show", "1.0"],
        ["rejects", "show", NAME],
        ["rejects", "resend", "1.0", "--set", NAME],
        ["replay", "--source", "web", "--table", NAME, "--dry-run"],
        ["replay", "--source", "web", "--table", f"{NAME}x"],
        ["replay", "--source", "web", "--table", NAME, "--into", NAME],
        ["log", "stats"],
        ["log", "verify"],
        ["log", "cat"],
        ["log", "cat", "--records"],
        ["log", "cat", "--from", NAME],
        ["plan", str(file), "--table", NAME, "--source", "web"],
        ["plan", str(tmp_path / NAME.replace("/", "")), "--table", "t"],
        ["push", str(file), "--table", NAME, "--url", "http://127.0.0.1:1", "--source", "web"],
        ["push", str(file), "--table", NAME, "--source", NAME],
        ["query", rows],
        ["query", odd],
        ["query", f"SELECT {_quote(NAME)} FROM nowhere"],
        ["query", f"SELECT * FROM {_quote(NAME)}"],
        ["doctor"],
        [NAME],
        ["source", NAME],
        ["loads", f"--{NAME.replace(' ', '')}"],
        ["loads", "--config", NAME],
    ]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _find_tables(shop: Shop) -> list[str]:
    from treadle.cli.query import query_destination

    found = query_destination(
        shop.config.destination_url,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'web' ORDER BY 1",
    )
    return [str(name) for (name,) in found.rows]


def test_no_command_prints_a_control_character(
    shop: Shop, treadle: Treadle, lines: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_PUSH_RETRY_SECONDS", "0")
    if shop.config.destination is not None:
        monkeypatch.setenv("TREADLE_DESTINATION", shop.config.destination)
    shown = ""
    for words in lines:
        for form in ([], ["--json"]):
            done = _run(treadle, [*words, *form])
            assert not find_unseen(done), (words, form, find_unseen(done))
            shown += done
    for escape in ("\\x1b[2J", "\\x9b2J", "\\u202e", "\\u2028", "\\x85", "\\u200b", "\\x7f", "\\n"):
        assert escape in shown


def _run(treadle: Treadle, words: list[str]) -> str:
    with contextlib.suppress(SystemExit):
        done = treadle(words[0], *words[1:]) if " " not in words[0] else treadle("", *words)
        return done.out + done.err
    return ""


def test_json_is_exact(shop: Shop, treadle: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    if shop.config.destination is not None:
        monkeypatch.setenv("TREADLE_DESTINATION", shop.config.destination)
    shown = treadle("log stats --json")
    names = {row["table"] for row in shown.json} | {
        row["table"] for row in treadle("ledger --json").json
    }
    assert set(HOSTILE) | {NAME} <= names
    values = [
        row["value"]
        for table in _find_tables(shop)
        if not table.startswith("_sdc") and "__nested" not in table
        for row in treadle(
            "query --json", f"SELECT value FROM web.{_quote(table)} WHERE id = 1"
        ).json
    ]
    # PostgreSQL's rules leave nothing of a table name of control characters alone.
    assert set(values) | {HOSTILE[5]} == set(HOSTILE) | {NAME}
    records = [json.loads(line) for line in treadle("log cat --records").out.splitlines()]
    assert {record["data"]["value"] for record in records} == set(HOSTILE) | {NAME}


def test_csv_is_exact_and_csv_safe_is_for_spreadsheets(
    shop: Shop, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shop.config.destination is not None:
        monkeypatch.setenv("TREADLE_DESTINATION", shop.config.destination)
    cells = (
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\ttab",
        "\rcr",
        "\nlf",
        "\uff1d1",
        "plain",
        "",
        " =1",
        "'=1",
    )
    texts = ", ".join("'" + cell.replace("'", "''") + "'" for cell in cells)
    statement = f"SELECT {texts}, -5 AS n, -1.5 AS d, NULL AS e, TRUE AS b"
    for flag, expected in (
        ("--csv", list(cells)),
        ("--csv-safe", [f"'{cell}" for cell in cells[:8]] + list(cells[8:])),
    ):
        done = treadle(f"query {flag}", statement)
        [_, row] = csv.reader(io.StringIO(done.out, newline=""))
        assert row == [*expected, "-5", "-1.5", "", "true"]
    header = treadle("query --csv-safe", 'SELECT 1 AS "=1+1"').out
    assert header.startswith("'=1+1\n")


@pytest.mark.parametrize("flags", [[], ["--csv"], ["--csv-safe"], ["--json"]])
def test_on_a_terminal_nothing_but_styles_is_sent(
    data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data.mkdir()
    duckdb.connect(str(data / "warehouse.duckdb")).close()
    statement = "SELECT " + ", ".join("'" + one.replace("'", "''") + "'" for one in HOSTILE[:6])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", "query", *flags, statement],
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "1000"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(30) == 0
    text = shown.decode().replace("\r\n", "\n")
    for style in ("\x1b[1m", "\x1b[0m"):
        text = text.replace(style, "")
    assert find_unseen(text) == set()
    assert "\\u202e" in text


def test_only_one_module_of_the_commands_prints() -> None:
    """Every other way to standard output or standard error would need the same care."""
    found = []
    for path in Path(next(iter(treadle.cli.__path__))).glob("*.py"):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("print", "input"):
                    found.append(f"{path.name}:{node.lineno} {node.func.id}")
            elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith(
                ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer")
            ):
                found.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    assert found == []


def test_an_error_that_nobody_caught_is_shown_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from treadle.cli.output import print_traceback

    def fail() -> Any:
        raise ValueError(NAME)

    try:
        fail()
    except ValueError as error:
        print_traceback(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err
    assert find_unseen(shown) == set()
    assert "\\x1b[2J" in shown
