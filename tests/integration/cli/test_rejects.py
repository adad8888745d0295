"""`treadle rejects` without a server: what it says of what it cannot do."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Done, Treadle
from tests.loads import load

from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.key_files import load_cipher
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode

AT = 1_559_347_200_000_000  # 2019-06-01
COLLISION = "Field collision on id"


@pytest.fixture
def rejected(data: Path, treadle: Treadle) -> Path:
    """Two requests, each with a rejected record."""
    assert treadle("account create").code == 0
    source = treadle("source create One --json").json["source_id"]
    batch = MessageBatch("t", ("id",), "json", b"", (), [7], 0, None, [], b'[{"id":1,"ID":2}]')

    async def accept() -> int:
        log = SqliteAppender(data / "log.sqlite")
        try:
            return await log.append([NewEntry(source, "t", AT, 1, encode_batch(batch))] * 2)
        finally:
            await log.aclose()

    assert asyncio.run(accept()) == 1
    reader = SqliteReader(data / "log.sqlite")
    with closing(
        Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    ) as store:
        store.use_log(reader.log_id)
        for place in (1, 2):
            at = AT + place * 86_400_000_000
            report = load(source, "t", place, at, rows_loaded=0, rows_rejected=1, tables={})
            refused = RecordRejection(0, COLLISION, RejectionCode.FIELD_COLLISION, "id")
            store.loads.record_load(report, [EntryOutcome(place, source, "t", 0, (refused,))])
    reader.close()
    return data


def ids(done: Done) -> list[str]:
    return [each["id"] for each in done.json]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", ["2.0", "1.0"]),
        ("--limit 1", ["2.0"]),
        ("--source one --table t --reason collision", ["2.0", "1.0"]),
        ("--table T", []),
        ("--since 2019-06-03", ["2.0"]),
        ("--until 2019-06-03T00:00:00Z", ["1.0"]),
        ("--until 2019-06-03T02:00:00.000001+02:00", ["2.0", "1.0"]),
    ],
)
def test_which_are_listed(
    rejected: Path, treadle: Treadle, flags: str, expected: list[str]
) -> None:
    assert ids(treadle(f"rejects list --json {flags}")) == expected


def test_one_is_shown_whole(rejected: Path, treadle: Treadle) -> None:
    lines = treadle("rejects show 2.0").out.splitlines()
    assert lines[0] == "id: 2.0"
    assert lines[-1] == 'record: {"id":1,"ID":2}'
    found = treadle("rejects show 1.0 --json").json
    assert (found["sequence"], found["record"]) == (7, {"id": 1, "ID": 2})
    assert (found["accepted_at"], found["rejected_at"]) == (
        "2019-06-01T00:00:00Z",
        "2019-06-02T00:00:00Z",
    )


def test_one_is_sent_again_once(rejected: Path, treadle: Treadle, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text('{"id": 1}')
    first = treadle(f"rejects resend 1.0 --record {record}")
    again = treadle("rejects resend 1.0 --unset ID")
    assert first.out.startswith("1.0 resent: rc_")
    assert again.out == first.out.replace("resent:", "resent before:")
    assert ids(treadle("rejects list --json --open")) == ["2.0"]
    reader = SqliteReader(rejected / "log.sqlite")
    assert [backlog.entries for backlog in reader.list_backlogs()] == [3]
    reader.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("list --limit 0", "--limit is to be a whole number"),
        ("list --since yesterday", "--since is to be a time such as"),
        ("show x", "'x' names no rejected record"),
        ("show 3.0", "there is no rejected record 3.0"),
        ("resend", "Say which records"),
        ("resend 1.0 --all", "Say which records"),
        ("resend 1.0 --set id", "Expected --set FIELD=JSON"),
        ("resend --all --record /dev/null", "--record replaces one record, and 2 are meant"),
        ("resend 1.0 --record /nowhere", "cannot be read"),
    ],
)
def test_what_cannot_be_done(rejected: Path, treadle: Treadle, line: str, said: str) -> None:
    done = treadle(f"rejects {line}")
    assert (done.code, done.out) == (2, "")
    assert said.lower() in done.err.lower()


def test_a_record_that_would_be_refused_and_a_source_that_is_paused(
    rejected: Path, treadle: Treadle
) -> None:
    done = treadle("rejects resend 1.0 --set id=null")
    assert done.code == 2
    assert done.out.startswith("1.0 failed: the record would be refused: ")
    treadle("source pause one")
    done = treadle("rejects resend --all")
    assert done.code == 2
    assert "The source one is paused" in done.err
    assert treadle("rejects resend --table other").out == "There is no such rejected record.\n"


def test_causes_are_counted(rejected: Path, treadle: Treadle) -> None:
    [cause] = treadle("rejects causes --json").json
    assert (cause["source"], cause["table"], cause["records"], cause["open"]) == ("one", "t", 2, 2)
    assert (cause["code"], cause["field"]) == ("field_collision", "id")
    assert (cause["example_id"], cause["example"]) == ("2.0", COLLISION)
    assert "field_collision" in treadle("rejects causes --open --table t").out
    assert treadle("rejects causes --json --table T").json == []
    assert ids(treadle("rejects list --json --code field_collision --field id")) == ["2.0", "1.0"]
    assert ids(treadle("rejects list --json --code nul_character")) == []
    assert treadle("rejects list --code none").code == 2
    sent = treadle("rejects resend --code field_collision --field id --unset ID --json")
    assert [each["status"] for each in sent.json] == ["resent", "resent"]
    assert treadle("rejects causes --json --open").json == []
    assert ids(treadle("rejects list --json --open")) == []
    assert treadle("rejects causes --json").json[0]["open"] == 0
