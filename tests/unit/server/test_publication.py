import os
from pathlib import Path

import pytest

from treadle.config import Config
from treadle.errors import OperatorError, RetriableError
from treadle.server import main_process
from treadle.server.publication import CopyPublisher, find_published_file
from treadle.server.startup import find_publication_risks, refuse_published_destination
from treadle.tasks.file_copy import CopyOrder, CopyReport
from treadle.traces.publication_note import read_publication

SECOND = 1_000_000


class Stage:
    """A file, and a publisher of it that copies nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source, self.target = folder / "warehouse.duckdb", folder / "bi.duckdb"
        self.seconds = 0.0
        self.copies = 0
        self.fails: Exception | None = None
        self.changes = 0
        self.publisher = self.make()

    def make(self) -> CopyPublisher:
        return CopyPublisher(
            self.source,
            self.target,
            60.0,
            self.folder / "publication",
            self.copy,
            CopyOrder(str(self.source), str(self.target)),
            clock=lambda: int((2_000_000_000 + self.seconds) * SECOND),
            monotonic=lambda: self.seconds,
        )

    def copy(self, order: CopyOrder) -> CopyReport:
        if self.fails is not None:
            raise self.fails
        self.copies += 1
        Path(order.target).write_bytes(Path(order.source).read_bytes())
        return CopyReport(5, 0.5, 0.1, 2)

    def change(self) -> None:
        self.changes += 1
        self.source.write_bytes(b"x" * self.changes)

    def look(self, after: float) -> bool:
        self.seconds += after
        return self.publisher.look()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_change_is_published_at_once_and_the_next_after_the_pause(stage: Stage) -> None:
    assert not stage.look(0)  # there is no file yet
    stage.change()
    assert stage.look(1)
    assert not stage.look(1)
    stage.change()
    assert not stage.look(57)
    assert stage.look(2)
    assert not stage.look(1_000)  # nothing has changed
    assert stage.copies == 2


def test_what_became_of_it_is_noted(stage: Stage) -> None:
    stage.change()
    stage.look(1)
    note = read_publication(stage.folder / "publication")
    assert note is not None
    assert (note.at, note.bytes, note.held_seconds, note.error) == (
        2_000_000_001 * SECOND,
        5,
        0.1,
        None,
    )


def test_a_failure_is_told_once_noted_and_tried_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.change()
    stage.look(1)
    stage.change()
    stage.fails = RetriableError("the disk is full")
    assert [stage.look(60), stage.look(60), stage.look(60)] == [False] * 3
    assert caplog.text.count("the disk is full") == 1
    note = read_publication(stage.folder / "publication")
    assert note is not None
    assert (note.error, note.failing_since) == ("the disk is full", 2_000_000_061 * SECOND)
    assert note.at == 2_000_000_001 * SECOND  # readers have that copy still
    stage.fails = None
    assert stage.look(60)
    note = read_publication(stage.folder / "publication")
    assert note is not None
    assert note.error is None


def test_a_new_process_copies_only_what_has_changed_since(stage: Stage) -> None:
    stage.change()
    os.utime(stage.source, (1_900_000_000, 1_900_000_000))
    assert stage.look(1)
    stage.publisher = stage.make()
    assert not stage.look(1)
    stage.change()
    os.utime(stage.source, (2_000_000_100, 2_000_000_100))
    assert stage.look(60)
    stage.target.unlink()
    stage.publisher = stage.make()
    assert stage.look(60)


def test_the_file_of_the_settings_is_published(tmp_path: Path) -> None:
    plain = Config(data=tmp_path)
    assert find_published_file(plain) is None
    config = Config(data=tmp_path, publish=tmp_path / "bi.duckdb")
    assert find_published_file(config) == (tmp_path / "warehouse.duckdb").resolve()


def test_what_keeps_it_from_being_published_is_said_at_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    fine = Config(data=data, publish=tmp_path / "bi.duckdb")
    assert list(find_publication_risks(fine)) == []
    assert list(find_publication_risks(Config(data=tmp_path))) == []
    server = Config(data=tmp_path, publish=tmp_path / "x", destination="postgresql://h/db")
    [risk] = find_publication_risks(server)
    assert "not loaded into a DuckDB file" in risk.found
    [risk] = find_publication_risks(Config(data=tmp_path, publish=tmp_path / "gone" / "x"))
    assert "is missing" in risk.found
    with pytest.raises(OperatorError, match="the file that rows are loaded into"):
        list(find_publication_risks(Config(data=tmp_path, publish=tmp_path / "warehouse.duckdb")))
    [risk] = find_publication_risks(Config(data=data, publish=data / "accounts.duckdb"))
    assert "in the folder of the DuckDB files that accounts name" in risk.found


@pytest.mark.parametrize("name", ["store.sqlite", "log-2.sqlite-wal", "secret.key", "treadle.lock"])
def test_no_setting_names_a_file_of_treadle_for_something_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_process, "set_up_logging", lambda config: pytest.fail("it is opened"))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / name)
    for path in (tmp_path / name, tmp_path / "folder" / ".." / name, link):
        with pytest.raises(OperatorError, match=r"^publish is .*, a file of treadle's own"):
            list(find_publication_risks(Config(data=tmp_path, publish=path)))
        with pytest.raises(OperatorError, match=r"^log_file is .*, a file of treadle's own"):
            main_process.run_server(Config(data=tmp_path, log_file=path))
    assert not (tmp_path / name).exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of somebody")
    with pytest.raises(OperatorError, match="is there and no DuckDB file"):
        list(find_publication_risks(Config(data=tmp_path, publish=elsewhere)))


def test_the_copy_is_no_destination(tmp_path: Path) -> None:
    urls = ["postgresql://h/db", f"duckdb://{tmp_path}/./bi%20of.duckdb"]
    refuse_published_destination(None, urls)
    refuse_published_destination(tmp_path / "bi.duckdb", urls)
    with pytest.raises(OperatorError, match="the file of a destination"):
        refuse_published_destination(tmp_path / "bi of.duckdb", urls)
