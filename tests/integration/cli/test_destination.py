"""`treadle destination ...` on a real store."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle

from treadle.store.destinations import DestinationPlace
from treadle.store.key_files import load_cipher
from treadle.store.model import DestinationSetter
from treadle.store.store import Store

URL = "postgresql://loader:s3cret@db.example.com/shop?application_name=etl"


@pytest.fixture
def store(data: Path, treadle: Treadle) -> Iterator[Store]:
    """The store of the data folder, open beside the commands, with one account and a source."""
    assert treadle("account create").code == 0
    assert treadle("source create Web").code == 0
    opened = Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    with closing(opened):
        yield opened


def write(path: Path, url: str) -> str:
    path.write_text(url + "\n")
    return str(path)


def test_a_destination_is_made_shown_changed_and_deleted(
    store: Store, treadle: Treadle, tmp_path: Path
) -> None:
    file = write(tmp_path / "url", URL)
    made = treadle(f"destination create --url-file {file} --json").json
    assert made == {
        "id": made["id"],
        "name": "Default Warehouse",
        "type": "postgres",
        "place": "postgresql://db.example.com:5432/shop",
        "properties": {
            "host": "db.example.com",
            "port": "5432",
            "username": "loader",
            "database": "shop",
            "ssl": "false",
            "encryption_type": "none",
        },
        "description": None,
        "default": True,
        "set_by": "operator",
        "checked": False,
        "stitch_client_id": 1,
        "sources": ["web"],
        "trouble": None,
        "proof": None,
        "query_url": None,
    }
    second = treadle(
        f"destination create --url duckdb://{tmp_path}/b.duckdb --name", "Second one", "--json"
    ).json
    assert (second["default"], second["sources"]) == (False, [])
    assert second["place"] == f"duckdb://{tmp_path}/b.duckdb"
    rows = treadle("destination list --json").json
    assert [(row["id"], row["name"]) for row in rows] == [
        (made["id"], "Default Warehouse"),
        (second["id"], "Second one"),
    ]
    shown = treadle("destination show", "Second one")
    assert shown.code == 0
    assert "path: b.duckdb\n" in shown.out
    assert "default: false\n" in shown.out

    write(tmp_path / "url", URL.replace("s3cret", "an0ther").replace("/shop", "/other"))
    changed = treadle(f"destination update {made['id']} --url-file {file} --name New --json").json
    assert (changed["name"], changed["place"]) == (
        "New",
        "postgresql://db.example.com:5432/other",
    )
    found = store.destinations.find_destination(None, made["id"])
    assert found is not None
    assert found.url == URL.replace("s3cret", "an0ther").replace("/shop", "/other")

    done = treadle("destination delete New")
    assert done.code == 2
    assert "add --yes" in done.err
    done = treadle("destination delete New --yes")
    assert done.out == (
        f"Deleted destination New ({made['id']}); its tables stay, and what its sources send "
        "waits for another one.\n"
    )
    assert [row["id"] for row in treadle("destination list --json").json] == [second["id"]]
    told = treadle("trail")
    assert told.code == 0
    assert "delete_destination" in told.out
    assert "s3cret" not in told.out
    assert "an0ther" not in told.out


def test_a_role_for_statements_is_named_kept_in_secret_and_taken_away(
    store: Store, treadle: Treadle, tmp_path: Path
) -> None:
    made = treadle(f"destination create --url-file {write(tmp_path / 'url', URL)} --json").json
    file = write(tmp_path / "role", "postgresql://reader:r3adonly@db.example.com/shop")
    update = f"destination update {made['id']}"
    changed = treadle(f"{update} --role-url-file {file} --name Shop --json").json
    assert changed["query_url"] == "postgresql://db.example.com:5432/shop"
    assert changed["name"] == "Shop"
    found = store.destinations.find_destination(None, made["id"])
    assert found is not None
    assert found.query_url == "postgresql://reader:r3adonly@db.example.com/shop"
    assert "r3adonly" not in repr(found) + treadle("trail").out + treadle("destination list").out
    assert b"r3adonly" not in Path(tmp_path / "data" / "store.sqlite").read_bytes()

    # It goes with the database that it is of.
    treadle(f"{update} --url-file {write(tmp_path / 'url', URL.replace('/shop', '/other'))}")
    assert treadle(f"destination show {made['id']} --json").json["query_url"] is None
    treadle(f"{update} --role-url-file {file}")
    assert treadle(f"{update} --no-role-url --json").json["query_url"] is None

    for other in (f"duckdb://{tmp_path}/a.duckdb", "mysql://reader:r3adonly@db.example.com"):
        wrong = treadle(f"{update} --role-url-file {write(tmp_path / 'wrong', other)}").err
        assert "has to be one of the type postgres" in wrong
        assert "r3adonly" not in wrong
    lake = treadle(f"destination create --url duckdb://{tmp_path}/a.duckdb --json").json
    done = treadle(f"destination update {lake['id']} --role-url-file {file}")
    assert done.code == 2
    assert "which has no roles" in done.err


def test_a_rename_keeps_the_place(store: Store, treadle: Treadle, tmp_path: Path) -> None:
    made = treadle(f"destination create --url duckdb://{tmp_path}/a.duckdb --json").json
    before = store.destinations.find_destination(None, made["id"])
    treadle(f"destination update {made['id']} --name Lake")
    after = store.destinations.find_destination(None, made["id"])
    assert before is not None
    assert after is not None
    assert (after.name, after.url, after.set_by) == ("Lake", before.url, before.set_by)
    assert after.present_since == before.present_since


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("create", "Say where it is, with --url or --url-file."),
        ("create --url duckdb:///a --url-file b", "keep one of them"),
        ("create --url duckbd:///a", "did you mean duckdb://?"),
        ("create --url-file nowhere", "The file nowhere cannot be read"),
        ("show 7", "There is no destination '7'; there is Default Warehouse"),
        ("update 7", "Say what is new"),
        ("delete 7 --yes", "There is no destination '7'"),
    ],
)
def test_what_cannot_be_done_is_told(
    store: Store, treadle: Treadle, words: str, said: str, tmp_path: Path
) -> None:
    treadle(f"destination create --url duckdb://{tmp_path}/a.duckdb")
    done = treadle(f"destination {words}")
    assert done.code == 2
    assert said in done.err


def test_a_password_in_a_flag_is_warned_of(store: Store, treadle: Treadle) -> None:
    done = treadle(f"destination create --url {URL}")
    assert done.code == 0
    assert "Warning: The flag --url holds a secret." in done.err
    assert "s3cret" not in done.out + done.err


def test_the_type_stays(store: Store, treadle: Treadle, tmp_path: Path) -> None:
    made = treadle(f"destination create --url duckdb://{tmp_path}/a.duckdb --json").json
    file = write(tmp_path / "url", URL)
    done = treadle(f"destination update {made['id']} --url-file {file}")
    assert done.code == 2
    assert "is of the type duckdb, which stays" in done.err


def test_what_the_setting_names_is_the_settings(store: Store, treadle: Treadle) -> None:
    row = store.destinations.set_default_destination(
        1, "postgres", URL, "db", set_by=DestinationSetter.SETTING
    )
    for words in (f"update {row.id} --name x", f"delete {row.id} --yes"):
        done = treadle(f"destination {words}")
        assert done.code == 2
        assert f"Destination {row.id} is set by the server's configuration" in done.err


def test_a_source_without_a_destination_is_named(
    store: Store, treadle: Treadle, tmp_path: Path
) -> None:
    place = DestinationPlace("duckdb", "duckdb:///a", "a", DestinationSetter.ACCOUNT)
    row = store.destinations.create_destination(1, place)
    store.destinations.delete_destination(1, row.id)
    done = treadle("source adopt web --dry-run")
    assert done.code == 2
    assert "The source web has no destination, so its records wait" in done.err
    done = treadle("query", "SELECT 1")
    assert done.code == 2
    assert "There is no destination; name the one to ask with --destination." in done.err
    findings = json.loads(treadle("doctor --json --quick").out)["findings"]
    [found] = [one for one in findings if one["subject"] == "destination"]
    assert found["found"] == "1 source has no destination."
