"""The note with the address of a server."""

from pathlib import Path

from treadle.server_address import ServerAddress, read_address, remove_address, write_address

ADDRESS = ServerAddress(7, "http://127.0.0.1:8720")


def test_a_note_counts_for_the_process_that_wrote_it(tmp_path: Path) -> None:
    lock = tmp_path / "treadle.lock"
    assert read_address(lock, 7) is None
    write_address(lock, ADDRESS)
    assert read_address(lock, 7) == ADDRESS
    assert read_address(lock, 8) is None
    assert read_address(lock, None) is None
    remove_address(lock)
    assert read_address(lock, 7) is None
    remove_address(lock)


def test_a_note_that_is_no_note_is_none(tmp_path: Path) -> None:
    lock = tmp_path / "treadle.lock"
    for text in ("", "7", '{"process": 7}', '{"process": 7, "url": "x", "more": 1}'):
        (tmp_path / "server.json").write_text(text)
        assert read_address(lock, 7) is None


def test_a_socket_is_shown_as_the_settings_name_it() -> None:
    assert ADDRESS.shown == "http://127.0.0.1:8720"
    assert ServerAddress(7, "http://localhost", "/run/treadle").shown == "unix:/run/treadle"
