"""How far a push came."""

import os
from pathlib import Path

import pytest

from treadle.cli.resume_file import PushProgress, ResumeFile
from treadle.errors import OperatorError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "records.ndjson"
    path.write_text("{}\n")
    return path


def test_progress_is_remembered_and_forgotten(file: Path, tmp_path: Path) -> None:
    bookmark = ResumeFile(tmp_path / "push", [file], "table", "source")
    assert bookmark.read() is None
    bookmark.write(PushProgress(2**62, 5, "p", 100))
    again = ResumeFile(tmp_path / "push", [file], "table", "source")
    assert again.read() == PushProgress(2**62, 5, "p", 100)
    again.remove()
    assert bookmark.read() is None
    assert list((tmp_path / "push").iterdir()) == []


def test_another_push_has_another_bookmark(file: Path, tmp_path: Path) -> None:
    def name(*what: str, files: tuple[Path, ...] = ()) -> str:
        return ResumeFile(tmp_path, [file, *files], *what).path.name

    names = {name("table", "source"), name("table", "other"), name("tables", "ource")}
    names.add(name("table", "source", files=(file,)))
    file.write_text("{}\n{}\n")
    names.add(name("table", "source"))
    os.utime(file, (1, 1))
    names.add(name("table", "source"))
    assert len(names) == 6


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"base": 1}', '{"base": "x", "records": 1}', '{"base": 1, "records": 1}'],
)
def test_a_broken_bookmark_is_none(file: Path, tmp_path: Path, content: str) -> None:
    bookmark = ResumeFile(tmp_path, [file])
    bookmark.path.write_text(content)
    assert bookmark.read() is None


def test_a_bookmark_that_cannot_be_written_says_what_to_do(file: Path, tmp_path: Path) -> None:
    (tmp_path / "push").write_text("a file where the folder should be")
    with pytest.raises(OperatorError, match="mend that, or push with --no-resume"):
        ResumeFile(tmp_path / "push", [file]).write(PushProgress(1, 1))


def test_a_push_that_began_is_not_to_begin_anew(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "push"
    bookmark = ResumeFile(folder, [file])
    bookmark.write(PushProgress(1, 0))
    bookmark.remove()
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    with pytest.raises(OperatorError, match=r"mend that\.$"):
        bookmark.write(PushProgress(1, 5))
