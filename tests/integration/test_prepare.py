"""What is prepared before a server listens."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from treadle.clock import read_clock
from treadle.config import Config
from treadle.destinations.duckdb_form import DuckDBForm
from treadle.destinations.registry import make_destination
from treadle.server.factories import open_store
from treadle.server.startup import find_risks, set_up_store
from treadle.store.destinations import DestinationPlace
from treadle.store.model import DestinationSetter
from treadle.store.store import Store


def test_the_first_account_is_made_once(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    newcomer = set_up_store(config)
    assert newcomer is not None
    assert newcomer.token.startswith("ac_")
    assert set_up_store(config) is None


def test_who_listens_to_the_network_without_tls_is_told_at_the_start(tmp_path: Path) -> None:
    user = 1000
    open_ = Config(data=tmp_path, host="192.0.2.7")
    [risk] = find_risks(open_, user)
    assert str(risk) == (
        "The server listens at 192.0.2.7 without TLS. Whoever can read the traffic reads tokens "
        "and records. Set tls_cert and tls_key, or let a proxy with TLS listen there."
    )
    assert list(find_risks(Config(data=tmp_path, host="127.0.0.1"), user)) == []
    with_tls = Config(data=tmp_path, host="192.0.2.7", tls_cert=tmp_path, tls_key=tmp_path)
    assert list(find_risks(with_tls, user)) == []
    [root] = find_risks(Config(data=tmp_path), 0)
    assert root.found == "The server runs as root."


def test_a_clock_that_was_set_back_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=tmp_path)
    set_up_store(config)
    set_up_store(config)
    assert caplog.messages == []
    three_days_ago = read_clock() - 3 * 86_400_000_000
    monkeypatch.setattr("treadle.server.startup.read_clock", lambda: three_days_ago)
    set_up_store(config)
    [said] = caplog.messages
    assert said.startswith("The store has noted a time 2592")
    assert "The clock was set back." in said
    assert said.endswith("Set the clock, and keep it with NTP.")


DATABASE = "postgresql://loader:s3cret@db.example.com/warehouse"


@contextmanager
def opened(config: Config) -> Iterator[Store]:
    with closing(open_store(config)) as store:
        yield store


def start(config: Config) -> tuple[str, str]:
    """Who set the only destination, and its URL, after a start with these settings."""
    set_up_store(config)
    with opened(config) as store:
        [row] = store.destinations.list_destinations()
        assert store.accounts.list_accounts()[0].destination_id == row.id
        return row.set_by, row.url


def place(url: str) -> DestinationPlace:
    return DestinationPlace("duckdb", url, url, DestinationSetter.ACCOUNT)


def test_a_change_of_the_destination_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    set_up_store(Config(data=tmp_path, destination=DATABASE))
    set_up_store(Config(data=tmp_path, destination=DATABASE.replace("s3cret", "an0ther")))
    assert caplog.messages == []

    set_up_store(Config(data=tmp_path, destination="duckdb:///elsewhere.duckdb"))
    [said] = caplog.messages
    assert said == (
        "from now on rows go to duckdb:///elsewhere.duckdb and no longer to "
        "postgresql://db.example.com:5432/warehouse, where what was loaded stays; "
        "name the old place with --destination to go back"
    )
    set_up_store(Config(data=tmp_path, destination="duckdb:///elsewhere.duckdb"))
    assert len(caplog.messages) == 1


def test_without_the_setting_the_destination_stays(tmp_path: Path) -> None:
    warehouse = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    with_setting = Config(data=tmp_path, destination=DATABASE)
    without = Config(data=tmp_path)
    assert start(without) == ("folder", warehouse)
    assert start(with_setting) == ("setting", DATABASE)
    assert start(without) == start(without) == ("operator", DATABASE)
    with opened(without) as store:
        [row] = store.destinations.list_destinations()
        store.destinations.update_destination(
            row.account_id, row.id, lambda _: place("duckdb:///mine")
        )
    assert start(without) == ("account", "duckdb:///mine")
    assert start(with_setting) == ("setting", DATABASE)
    assert start(without) == ("operator", DATABASE)


def test_a_deleted_destination_does_not_come_back(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    start(config)
    with opened(config) as store:
        [row] = store.destinations.list_destinations()
        store.destinations.delete_destination(row.account_id, row.id)
    set_up_store(config)
    with opened(config) as store:
        [gone] = store.destinations.list_destinations()
        assert gone.deleted_at is not None
        made = store.destinations.create_destination(row.account_id, place("duckdb:///mine"))
        assert store.accounts.list_accounts()[0].destination_id == made.id
    # The setting takes its place as it takes that of any default.
    set_up_store(Config(data=tmp_path, destination=DATABASE))
    with opened(config) as store:
        [_, row] = store.destinations.list_destinations()
        assert (row.id, row.set_by, row.url) == (made.id, "setting", DATABASE)


def test_an_account_that_has_a_destination_before_the_first_start_keeps_it(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    config.make_data_folder()
    with opened(config) as store:
        account, _ = store.accounts.create_account("first")
        store.destinations.create_destination(account.id, place("duckdb:///mine"))
    assert start(config) == ("account", "duckdb:///mine")


def test_a_copy_of_a_data_folder_loads_into_files_of_its_own(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    config = Config(data=old)
    config.make_data_folder()
    set_up_store(config)
    form = DuckDBForm(config.duckdb_path)
    url = form.write_url({"path": "sub/mine.duckdb"}, None)
    with opened(config) as store:
        [account] = store.accounts.list_accounts()
        store.destinations.create_destination(account.id, place(url))
    shutil.copytree(old, new)
    moved = Config(data=new)
    set_up_store(moved)
    with opened(moved) as store:
        assert [
            make_destination(row.url).identity for row in store.destinations.list_destinations()
        ] == [
            f"duckdb://{new}/warehouse.duckdb",
            f"duckdb://{new}/sub/mine.duckdb",
        ]
    # Another folder for such files moves them alone.
    set_up_store(Config(data=new, duckdb_folder=tmp_path))
    with opened(moved) as store:
        [_, row] = store.destinations.list_destinations()
        assert make_destination(row.url).identity == f"duckdb://{tmp_path}/sub/mine.duckdb"


def test_a_new_account_shares_what_the_operator_named_and_not_what_an_account_did(
    tmp_path: Path,
) -> None:
    config = Config(data=tmp_path)
    set_up_store(config)
    with opened(config) as store:
        second, _ = store.accounts.create_account("second")
        assert store.destinations.find_destination(second.id, second.destination_id or 0)
        for row in store.destinations.list_destinations():
            store.destinations.update_destination(
                row.account_id, row.id, lambda _: place("duckdb:///mine")
            )
        third, _ = store.accounts.create_account("third")
        assert third.destination_id is None
