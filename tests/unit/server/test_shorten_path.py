"""Paths in what the server shows when it starts."""

from pathlib import Path

import pytest

from treadle.server.announcement import shorten_path


@pytest.mark.parametrize(
    ("path", "here", "shown"),
    [
        ("/home/ann/treadle-data/account.token", "/home/ann", "treadle-data/account.token"),
        ("/var/lib/treadle", "/home/ann", "/var/lib/treadle"),
        ("/home/anna", "/home/ann", "/home/anna"),
        ("/var/lib/treadle", "/", "/var/lib/treadle"),
    ],
)
def test_a_path_is_shown_as_it_can_be_typed(path: str, here: str, shown: str) -> None:
    assert shorten_path(Path(path), Path(here)) == shown
