"""Accounts, sources and tokens on a real store."""

import hashlib
import io
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.faults.damage import append
from tests.integration.cli.conftest import Treadle

from treadle.config import Config
from treadle.log.protocol import NewEntry
from treadle.log.registry import open_reader
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.server.factories import open_store
from treadle.server.loader_process import make_loader
from treadle.store.key_files import load_cipher
from treadle.store.store import Store


@pytest.fixture
def store(data: Path, treadle: Treadle) -> Iterator[Store]:
    """The store of the data folder, open beside the commands, with one account."""
    assert treadle("account create --name One").code == 0
    opened = Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    with closing(opened):
        yield opened


def sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def test_the_first_account_makes_the_data_folder(data: Path, treadle: Treadle) -> None:
    made = treadle("account create --json").json
    assert list(made) == ["stitch_client_id", "access_token"]
    assert made["stitch_client_id"] == 1
    assert made["access_token"].startswith("ac_")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_accounts_and_their_tokens(store: Store, treadle: Treadle) -> None:
    done = treadle("account create --name Two --client-id 116078")
    lines = dict(line.split(": ") for line in done.out.splitlines())
    assert lines["stitch_client_id"] == "116078"
    token = lines["access_token"].removesuffix("  (shown this once)")
    account = store.accounts.find_account_by_token(token)
    assert account is not None
    assert (account.id, account.name) == (116078, "Two")

    listed = treadle("account list --json").json
    assert [(a["stitch_client_id"], a["name"]) for a in listed] == [(1, "One"), (116078, "Two")]
    assert "116078" in treadle("account list").out

    second = treadle("account token create --account 116078 --description CI --json").json
    account = store.accounts.find_account_by_token(second["access_token"])
    assert account is not None
    assert account.id == second["stitch_client_id"] == 116078


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("account create", "treadle: There is an account already: One (1). Say with --name "),
        (
            "account create --name b --client-id 1",
            "treadle: The client id 1 belongs to an account already.",
        ),
        ("account create --client-id x", "treadle: --client-id is to be a whole number above 0,"),
        ("account create --client-id 0", "treadle: --client-id is to be a whole number above 0,"),
        ("account token create --account 7", "treadle: There is no account '7'; there is 1 (One)."),
        ("source pause nix", "treadle: There is no source yet; make one with `treadle source crea"),
        ("token list 9", "treadle: There is no source yet; make one with `treadle source create"),
    ],
)
def test_errors_say_what_to_do(line: str, said: str, store: Store, treadle: Treadle) -> None:
    done = treadle(line)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1


def test_a_folder_without_data_is_not_filled(data: Path, treadle: Treadle) -> None:
    for line in ("account list", "source list", "source create x", "token list x"):
        done = treadle(line)
        assert done.code == 2
        assert f"There is no treadle data in {data};" in done.err
    assert not data.exists()


def test_another_key_is_refused(data: Path, store: Store, treadle: Treadle) -> None:
    (data / "secret.key").write_text("0" * 64 + "\n")
    done = treadle("account list")
    assert done.code == 2
    assert "key" in done.err
    assert done.err.count("\n") == 1


def test_the_key_may_come_from_the_environment(
    data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_SECRET_KEY", "ab" * 32)
    assert treadle("account create").code == 0
    assert not (data / "secret.key").exists()
    assert treadle("account list").code == 0


def test_a_source_is_made_with_a_token_that_pushes(store: Store, treadle: Treadle) -> None:
    made = treadle("source create --json", "Import API").json
    assert (made["name"], made["display_name"]) == ("import_api", "Import API")
    pusher = store.tokens.find_owner(sha256(made["access_token"]))
    assert pusher is not None
    assert (pusher.source_id, pusher.account_id, pusher.active) == (made["source_id"], 1, True)
    # Asked for, so it does not give way to later ones as a token made unasked would.
    (token,) = store.tokens.list_tokens(made["source_id"])
    assert (token.id, token.bootstrap) == (made["token_id"], False)
    shown = treadle("source create Orders").out.splitlines()
    assert [line.split(": ")[0] for line in shown] == [
        "stitch_client_id",
        "source_id",
        "name",
        "access_token",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("####",), "The name '', made from '####', cannot be a schema: "),
        (("2019 orders",), "The name '2019_orders', made from '2019 orders', cannot be a schema: "),
        (("x", "--name", "Bad Name"), "The name 'Bad Name' cannot be a schema: "),
        (("IMPORT-API",), "There is a source with the name 'import_api' already; "),
        (("Orders", "--account", "9"), "There is no account '9'; there is 1 (One)."),
    ],
)
def test_a_source_that_cannot_be_made(
    words: tuple[str, ...], said: str, store: Store, treadle: Treadle
) -> None:
    assert treadle("source create", "Import API").code == 0
    done = treadle("source create", *words)
    assert done.code == 2
    assert said in done.err
    assert len(store.sources.list_sources()) == 1


def test_pause_unpause_delete(store: Store, treadle: Treadle) -> None:
    made = treadle("source create --json Orders").json
    number = made["source_id"]

    def state() -> str:
        (row,) = treadle("source list --deleted --json").json
        pusher = store.tokens.find_owner(sha256(made["access_token"]))
        assert pusher is not None
        assert pusher.active == (row["state"] == "active")
        return str(row["state"])

    assert state() == "active"
    assert treadle("source pause orders").out == f"Source orders ({number}) is paused.\n"
    assert state() == "paused"
    assert treadle(f"source unpause {number}").out == f"Source orders ({number}) is active.\n"
    assert state() == "active"
    done = treadle("source delete orders --yes")
    assert done.out == f"Deleted source orders ({number}); its tables stay.\n"
    assert state() == "deleted"
    assert treadle("source list --json").json == []
    assert "There is no source yet" in treadle("source pause orders").err


def test_deleting_asks_first(
    store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    treadle("source create Orders")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    done = treadle("source delete orders")
    assert done.code == 2
    assert "cannot be undone; add --yes to do it" in done.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert treadle("source delete orders").out == ""
    assert store.sources.list_sources()[0].deleted_at is None
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert treadle("source delete orders").out.startswith("Deleted source orders")
    assert store.sources.list_sources()[0].deleted_at is not None


def test_accounts_share_no_schema(store: Store, treadle: Treadle) -> None:
    treadle("account create --name Two")
    assert treadle("source create Orders --account One").code == 0
    done = treadle("source create Orders --account Two")
    assert done.code == 0
    assert "schema: orders2" in done.out
    assert {source.schema for source in store.sources.list_sources()} == {"orders", "orders2"}
    done = treadle("source create Orders --account Two")
    assert done.code == 2
    assert "a source with the name 'orders' already; give another one with --name" in done.err


@pytest.mark.parametrize("name", ["_treadle", "public", "main", "pg_x", "information_schema"])
def test_a_reserved_name_is_refused(store: Store, treadle: Treadle, name: str) -> None:
    for words in (f"source create {name}", f"source create x --name {name}"):
        done = treadle(words)
        assert done.code == 2
        assert "keeps for itself" in done.err
    assert store.sources.list_sources() == []


def test_a_source_is_named_within_its_account(store: Store, treadle: Treadle) -> None:
    treadle("account create --name Two")
    for account, place in zip(store.accounts.list_accounts(), "ab", strict=True):
        store.destinations.set_default_destination(
            account.id, "duckdb", f"duckdb:///{place}", place
        )
    ids = [
        treadle(f"source create Orders --json --account {account}").json["source_id"]
        for account in ("One", "2")
    ]
    done = treadle("source pause orders")
    assert done.code == 2
    assert f"give an id: {ids[0]} (account 1), {ids[1]} (account 2)." in done.err
    assert treadle("source pause orders --account Two").code == 0
    assert [source.active for source in store.sources.list_sources()] == [True, False]
    assert "say which with --account: 1 (One), 2 (Two)." in treadle("source create x").err
    (row,) = treadle("source list --json --account 2").json
    assert row["id"] == ids[1]


def test_tokens(store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = treadle("source create Orders --json").json["token_id"]
    made = treadle("token create orders --json").json
    pusher = store.tokens.find_owner(sha256(made["access_token"]))
    assert pusher is not None
    assert pusher.token_id == made["token_id"]
    assert [row["token_id"] for row in treadle("token list orders --json").json] == [
        first,
        made["token_id"],
    ]
    assert made["access_token"] not in treadle("token list orders").out

    done = treadle("token create orders")
    assert done.code == 2
    assert f"has 2 active tokens ({first} and {made['token_id']})" in done.err
    assert "`treadle token revoke orders TOKEN_ID`" in done.err

    assert treadle(f"token revoke orders {first}").out == f"Revoked token {first} of orders.\n"
    again = treadle(f"token revoke orders {first}")
    assert again.code == 2
    assert f"The source orders has no active token {first};" in again.err

    old = "0123456789abcdef" * 4
    monkeypatch.setattr("sys.stdin", io.StringIO(old + "\n"))
    done = treadle("token import orders")
    assert done.code == 0
    assert old not in done.out
    pusher = store.tokens.find_owner(sha256(old))
    assert pusher is not None
    assert pusher.source_id == made["source_id"]


@pytest.mark.parametrize("line", ["", "two words\n", "täg\n"])
def test_a_token_that_is_none_is_not_imported(
    line: str, store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    treadle("source create Orders")
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    done = treadle("token import orders")
    assert done.code == 2
    assert "is to be one line without blanks" in done.err
    assert len(store.tokens.list_tokens(store.sources.list_sources()[0].id)) == 1


def test_an_account_is_renamed_and_deleted_when_nothing_of_it_works(
    data: Path, treadle: Treadle
) -> None:
    assert treadle("account create --name Shop").code == 0
    made = treadle("account create --name default --json").json
    account = made["stitch_client_id"]
    assert treadle("account rename default Spare").code == 0
    assert treadle("source create Web --account Spare").code == 0
    done = treadle("account delete Spare --yes")
    assert (done.code, "still has source web" in done.err) == (2, True)
    assert treadle("source rename web Website").code == 0
    [source] = treadle("source list --json").json
    assert (source["name"], source["display_name"]) == ("web", "Website")
    assert treadle("source delete web --yes").code == 0
    assert treadle("account delete Spare").code == 2  # nobody is there to answer
    assert treadle("account delete Spare --yes").code == 0
    [left] = treadle("account list --json").json
    assert left["name"] == "Shop"
    assert "is the only one" in treadle("account delete Shop --yes").err
    assert treadle("source create Web").code == 0  # no account has to be named any more
    with closing(open_store(Config(data=data))) as store:
        assert store.accounts.find_account_by_token(made["access_token"]) is None
        assert store.accounts.get_account_count() == 1
        later, _ = store.accounts.create_account("Later")
        assert later.id > account  # the id of a deleted account is not given again


def test_an_account_whose_records_wait_is_not_deleted(data: Path, treadle: Treadle) -> None:
    assert treadle("account create --name Shop").code == 0
    spare = treadle("account create --name Spare --json").json["stitch_client_id"]
    sources = {
        name: treadle(f"source create {name} --account Spare --json").json["source_id"]
        for name in ("Web", "Other")
    }
    config = Config(data=data)
    with closing(open_store(config)) as store:
        for account in store.accounts.list_accounts():
            place = config.warehouse_path.with_name(f"{account.name}.duckdb")
            store.destinations.set_default_destination(
                account.id, "duckdb", f"duckdb://{place}", str(place)
            )
        with closing(make_loader(config, store)) as loader:
            for name, source_id in sources.items():
                push_orders(config, source_id, "orders" if name == "Web" else "odd\nname", 3)
                assert treadle(f"source delete {name.lower()} --yes").code == 0
            done = treadle("account delete Spare --yes")
            assert done.code == 2
            assert "6 accepted records of it would never be loaded" in done.err
            assert "orders of source web (3 records), odd\\nname of source other" in done.err
            assert f"treadle destination create --account {spare}" in done.err
            assert len(treadle("account list --json").json) == 2
            loader.load_once()
            assert treadle("account delete Spare --yes").code == 0
    assert len(treadle("account list --json").json) == 1


def test_an_account_is_not_deleted_where_its_log_is_not_to_be_seen(
    data: Path, treadle: Treadle
) -> None:
    assert treadle("account create --name Shop").code == 0
    assert treadle("account create --name Spare").code == 0
    source_id = treadle("source create Web --account Spare --json").json["source_id"]
    config = Config(data=data)
    push_orders(config, source_id, "orders", 1)
    with closing(open_store(config)) as store, closing(open_reader(config)) as log:
        store.use_log(log.log_id)
    assert treadle("source delete web --yes").code == 0
    away = config.log_path.rename(data / "away")
    done = treadle("account delete Spare --yes")
    assert (done.code, "Run the command on the machine of the log" in done.err) == (2, True)
    away.rename(config.log_path)
    assert "orders of source web (1 record)" in treadle("account delete Spare --yes").err


def push_orders(config: Config, source_id: int, table: str, count: int) -> None:
    batch = MessageBatch(
        table,
        ("id",),
        "json",
        b"",
        (),
        list(range(1, count + 1)),
        0,
        None,
        [],
        msgspec.json.encode([{"id": number} for number in range(count)]),
    )
    entry = NewEntry(source_id, table, 1_700_000_000_000_000, count, encode_batch(batch))
    append(config.log_path, [entry])
