import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from treadle.errors import OperatorError
from treadle.files import (
    keep_owner,
    make_private_file,
    make_private_folder,
    open_private_file,
    sync_folder,
    write_private_file,
)

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert make_private_file(tmp_path / "made")
        os.close(open_private_file(tmp_path / "opened"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "made") == mode(tmp_path / "opened") == 0o600
    sync_folder(tmp_path)


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("kept")
    file.chmod(0o640)
    assert not make_private_file(file)
    os.close(open_private_file(file))
    assert file.read_text() == "kept"
    assert mode(file) == 0o640


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    for use in (make_private_file, open_private_file):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "no" / "file")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of another user, in which root works."""
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


def find_owners(folder: Path) -> dict[str, int]:
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.lstat().st_uid for path in found}


@as_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(foreign: Path) -> None:
    make_private_file(foreign / "made")
    os.close(open_private_file(foreign / "opened"))
    write_private_file(foreign / "written", "text", replace=False)
    make_private_folder(foreign / "push" / "deep")
    os.close(open_private_file(foreign / "push" / "deep" / "file"))
    found = find_owners(foreign)
    assert len(found) == 6
    assert set(found.values()) == {NOBODY}


@as_root
def test_what_others_make_for_root_belongs_to_the_owner_at_the_end(foreign: Path) -> None:
    with suppress(OperatorError), keep_owner(foreign):
        (foreign / "warehouse.duckdb").touch()
        (foreign / "folder").mkdir()
        (foreign / "folder" / "file").touch()
        raise OperatorError("a command that fails")
    assert set(find_owners(foreign).values()) == {NOBODY}


@as_root
def test_links_in_a_folder_of_another_user_give_nothing_away(foreign: Path) -> None:
    """What lies in the folder was perhaps put there by its owner, to get what is root's."""
    away = foreign.parent / "away"
    away.mkdir()
    secret, other = away / "secret", away / "other"
    secret.touch()
    other.touch()
    with keep_owner(foreign):
        (foreign / "link").symlink_to(secret)
        (foreign / "folder").symlink_to(away)
        (foreign / "second name").hardlink_to(other)
        os.mkfifo(foreign / "pipe")
    assert {path.stat().st_uid for path in (away, secret, other)} == {0}


@as_root
def test_in_a_folder_of_everybody_root_keeps_what_it_makes(foreign: Path) -> None:
    foreign.chmod(0o1777)
    with keep_owner(foreign):
        make_private_file(foreign / "made")
    assert find_owners(foreign) == {"made": 0}
