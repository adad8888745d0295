"""BigQuery for tests: the emulator bqemulator behind a strict door, in an environment of its own.

There is no server of BigQuery. The emulator runs statements in DuckDB 1.5, of which its extension
is on PyPI, so it cannot be in the environment of treadle, which has DuckDB 2: `make bigquery-needs`
makes one. What it cannot show is listed in docs/how-to/bigquery.md.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import httpx
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from tests.servers.database_server import (
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    NoServerError,
    free_port,
)

PROJECT: Final = "treadle-test"
LOCATION: Final = "US"  # of what the emulator answers

ENVIRONMENT: Final = "BIGQUERY_ENVIRONMENT"
"""The variable that may name the environment of the emulator."""

HERE: Final = Path(__file__).parent


def find_python() -> Path:
    """The Python of the environment of the emulator."""
    named = os.environ.get(ENVIRONMENT)
    folder = Path(named) if named else Path(sys.prefix).with_name(".venv-bigquery")
    python = folder / "bin" / "python"
    if not python.exists():
        raise NoServerError("the emulator is not installed; make bigquery-needs installs it")
    return python


def find_extension(python: Path) -> Path:
    """The extension of DuckDB without which the emulator does not start."""
    found = sorted(python.parents[1].glob("lib/python*/**/v1.5.5/spatial.duckdb_extension"))
    if not found:
        raise NoServerError("the wheel duckdb-extension-spatial is missing")
    return found[0]


class BigqueryServer:
    """One emulator with its own folder and port. What it holds is in memory."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        if find_spec("google.cloud.bigquery") is None:
            raise NoServerError("google-cloud-bigquery is not installed")
        self.port = free_port()
        self._python = find_python()
        self._process: subprocess.Popen[bytes] | None = None
        self._root = Path(tempfile.mkdtemp(prefix="treadle-bigquery-"))
        extension = find_extension(self._python)
        # Where DuckDB looks for it, as it would have fetched it.
        place = self._root / ".duckdb" / "extensions" / "v1.5.5" / "linux_amd64"
        place.mkdir(parents=True)
        shutil.copy(extension, place)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def url(self, **parameters: str) -> str:
        """The URL of this server as a destination."""
        given = {"location": LOCATION, "endpoint": self.endpoint, **parameters}
        return f"bigquery://{PROJECT}/?" + "&".join(f"{n}={v}" for n, v in given.items())

    def connect(self) -> bigquery.Client:
        """A client with nothing set."""
        return bigquery.Client(
            project=PROJECT,
            location=LOCATION,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.endpoint},
        )

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last one."""
        with contextlib.closing(self.connect()) as client:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = [tuple(row.values()) for row in client.query(statement).result()]
            return rows

    def empty(self) -> None:
        """Leave the server as a new one is."""
        self.lose(0)
        with contextlib.closing(self.connect()) as client:
            for dataset in client.list_datasets():
                client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)

    def lose(
        self, times: int, *, after: bool = False, prefix: str = "", without: str = "\0"
    ) -> None:
        """Have requests for jobs answered by 503: before the job is begun, or once it is done."""
        body = {"times": times, "after": after, "prefix": prefix, "without": without}
        httpx.post(f"{self.endpoint}/door", json=body).raise_for_status()

    # --- life -------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the server wrote."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it answers; no effect when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        kept = {"HOME": str(self._root), "TZ": "UTC", "PATH": os.environ.get("PATH", "")}
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python), "-P", str(HERE / "bigquery_door.py"), str(self.port)],
                stdin=subprocess.PIPE,  # it ends when we do
                stdout=log,
                stderr=log,
                cwd=self._root,
                env=kept,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self.endpoint}/healthz")
                return
            time.sleep(0.1)
        raise NoServerError(f"the emulator of BigQuery did not start: {self.log[-2000:]}")

    def close(self) -> None:
        """Stop the server and remove its folder."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS_MAX)
        if process is not None and process.stdin is not None:
            process.stdin.close()
        shutil.rmtree(self._root, ignore_errors=True)
