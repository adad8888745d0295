"""A server of an earlier commit, out of the history of the repository.

It runs with the packages of this environment. So a commit that needs others cannot be tried so.
"""

import io
import os
import re
import sqlite3
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.servers.treadle import TreadleServer

ROOT: Final = Path(__file__).parents[2]
FIRST_REVISION: Final = "324e21dc0958"
"""The oldest commit whose data folder a server of today has to go on with."""


class NoHistoryError(RuntimeError):
    """The source of an earlier commit cannot be had here; the text says why."""


def find_former_revision() -> str:
    """The newest tag of a release before this commit; the first commit that counts, without one."""
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^", check=False)
    return tag.decode().strip() or FIRST_REVISION


def name_revision(revision: str) -> str:
    """Short name and subject of a commit."""
    return _git("log", "-1", "--format=%h %s", revision).decode().strip()


def unpack_source(revision: str, folder: Path) -> Path:
    """Write the source of a commit into a folder; returns what PYTHONPATH has to name.

    Raises:
        NoHistoryError: this is no clone, or one without that commit.
    """
    packed = _git("archive", "--format=tar", revision, "src")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def _git(*words: str, check: bool = True) -> bytes:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    except OSError as error:
        raise NoHistoryError(f"git cannot be started: {error}") from error
    if check and done.returncode != 0:
        raise NoHistoryError(f"git {words[0]}: {done.stderr.decode().strip()}")
    return done.stdout


class FormerServer(TreadleServer):
    """`treadle serve` of an earlier commit.

    Args:
        source: of `unpack_source`.
    """

    def __init__(
        self, source: Path, data: Path, destination: str | None, settings: Mapping[str, str]
    ) -> None:
        super().__init__(data, destination, settings, {"PYTHONPATH": os.fspath(source)})

    def account(self) -> tuple[int, str]:
        """Client id and token of the first account; the first releases printed the token."""
        printed = re.search(r"account token +(ac_\S+)", self.said)
        if printed is None:
            return super().account()
        client = re.search(r"client id +(\d+)", self.said)
        assert client, self.said
        return int(client[1]), printed[1]


def read_store_revision(data: Path) -> str:
    """The revision of the schema of a store, which nobody has to be running for."""
    with closing(sqlite3.connect(data / "store.sqlite")) as connection:
        [(revision,)] = connection.execute("SELECT version_num FROM alembic_version")
    return str(revision)
