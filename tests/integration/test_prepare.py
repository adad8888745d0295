"""What is prepared before a server listens."""

import logging
from pathlib import Path

import pytest

from treadle.config import Config
from treadle.server.startup import set_up_store


def test_the_first_account_is_made_once(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    newcomer = set_up_store(config)
    assert newcomer is not None
    assert newcomer.token.startswith("ac_")
    assert set_up_store(config) is None


def test_a_change_of_the_destination_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database = "postgresql://loader:s3cret@db.example.com/warehouse"
    set_up_store(Config(data=tmp_path, destination=database))
    set_up_store(Config(data=tmp_path, destination=database.replace("s3cret", "an0ther")))
    assert caplog.messages == []

    set_up_store(Config(data=tmp_path))
    [said] = caplog.messages
    place = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    assert said == (
        f"from now on rows go to {place} and no longer to "
        "postgresql://db.example.com:5432/warehouse, where what was loaded stays; "
        "name the old place with --destination to go back"
    )
    set_up_store(Config(data=tmp_path))
    assert len(caplog.messages) == 1
