"""What a check of files tries, and which credentials are sent to a store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from treadle.destinations.registry import make_destination
from treadle.destinations.rehearsal import LoadRehearsal
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.errors import TreadleError


def rehearse(url: str) -> RehearsalResult:
    return LoadRehearsal(make_destination(url), 1_800_000_000_000_000, Path("/nowhere")).run([])


def test_a_rehearsal_in_a_folder_leaves_nothing(tmp_path: Path) -> None:
    found = rehearse(f"files://{tmp_path / 'lake'}")
    assert found.fault is None
    assert [(each.phase.value, each.failed) for each in found.phases] == [
        ("connect", False), ("rights", False), ("load", False),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("treadle.destinations.files.folder_store._write", refuse)
    found = rehearse(f"files://{tmp_path / 'lake'}")
    assert found.fault is not None
    assert "refuses access" in found.fault
    assert [each.phase.value for each in found.phases if each.failed] == ["rights"]


@contextmanager
def listening() -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A store in which nothing is: its port, and the headers of the requests that it got."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()


@pytest.mark.parametrize("token", [None, "theirs"])
def test_nothing_of_the_environment_is_sent_with_a_key_of_the_url(
    monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """A bucket may be an account's, and the environment is the operator's."""
    pytest.importorskip("obstore")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "OPERATORS"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "operators-token"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ):
        monkeypatch.setenv(name, value)
    with listening() as (port, seen):
        url = f"files+s3://THEIRS:s@127.0.0.1:{port}/lake?tls=false"
        url += f"&session-token={token}" if token else ""
        # A list that is not answered is a fault.
        with make_destination(url).open(read_only=True) as session, suppress(TreadleError):
            session.committed("log")
    assert seen
    for headers in seen:
        assert "Credential=THEIRS/" in headers["authorization"]
        assert headers.get("x-amz-security-token") == token
