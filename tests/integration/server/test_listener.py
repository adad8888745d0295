"""Where the server listens: addresses that need TLS, and UNIX sockets."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.server.listener import check_transport, open_listener


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost"]
)
def test_only_this_machine_reaches_loopback(address: str) -> None:
    check_transport(Config(), address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "fe80::1%eth0", "::ffff:192.0.2.1", "2001:db8::1"],  # noqa: S104
)
def test_other_machines_need_tls_or_the_word_of_the_operator(address: str) -> None:
    with pytest.raises(OperatorError) as refused:
        check_transport(Config(host=address), address)
    for way in ("tls_cert and tls_key", "127.0.0.1 or to unix:", "insecure_http to true"):
        assert way in str(refused.value)
    check_transport(Config(host=address, insecure_http=True), address)
    check_transport(Config(host=address, tls_cert=Path("/c"), tls_key=Path("/k")), address)


@pytest.mark.parametrize("host", ["0", "0.0.0.0", "::"])  # noqa: S104 - refused
def test_nothing_is_bound_before_it_is_allowed(host: str) -> None:
    with pytest.raises(OperatorError, match="other machines reach"):
        open_listener(Config(host=host, port=0))


@pytest.mark.parametrize(
    ("config", "announced", "local"),
    [
        (Config(port=0), "http://127.0.0.1:{}", "http://127.0.0.1:{}"),
        (Config(port=0, host="localhost"), "http://localhost:{}", "http://localhost:{}"),
        (
            Config(port=0, host="0.0.0.0", insecure_http=True),  # noqa: S104
            "http://0.0.0.0:{}",
            "http://127.0.0.1:{}",
        ),
        (
            Config(port=0, tls_cert=Path("/c"), tls_key=Path("/k")),
            "https://127.0.0.1:{}",
            "https://127.0.0.1:{}",
        ),
    ],
)
def test_the_true_address_is_told(config: Config, announced: str, local: str) -> None:
    listener = open_listener(config)
    port = listener.socket.getsockname()[1]
    listener.close()
    assert (listener.address, listener.url) == (announced.format(port), local.format(port))


def test_an_address_that_is_taken_is_named() -> None:
    first = open_listener(Config(port=0))
    try:
        port = first.socket.getsockname()[1]
        with pytest.raises(OperatorError, match=f"Cannot listen at 127.0.0.1 port {port}: Address"):
            open_listener(Config(port=port))
    finally:
        first.close()


# --- UNIX sockets ---------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "treadle.sock"


def at(path: Path, mode: str = "0660") -> Config:
    return Config(host=f"unix:{path}", socket_mode=mode)


@pytest.mark.parametrize("mode", ["0660", "600", "0666"])
def test_a_socket_is_for_those_that_its_bits_say(path: Path, mode: str) -> None:
    listener = open_listener(at(path, mode))
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert listener.address == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    assert path.is_socket()
    open_listener(at(path)).close()
    assert not path.exists()


def test_a_socket_of_a_server_that_runs_is_left_alone(path: Path) -> None:
    first = open_listener(at(path))
    try:
        with pytest.raises(OperatorError, match=f"the socket {path}: another server does"):
            open_listener(at(path))
        assert path.is_socket()
    finally:
        first.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    other = path.with_name("other")
    other.write_text("kept")
    makers: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("kept"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(other),
        "pipe": lambda: os.mkfifo(path),
    }
    makers[kind]()
    with pytest.raises(OperatorError, match="something else has this name"):
        open_listener(at(path))
    assert path.exists()
    assert other.read_text() == "kept"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"none/t\.sock: No such file"):
        open_listener(at(tmp_path / "none" / "t.sock"))


def test_the_file_of_another_server_stays(path: Path) -> None:
    first = open_listener(at(path))
    path.unlink()
    second = open_listener(at(path))
    first.close()
    assert path.is_socket()
    second.close()
    assert not path.exists()
