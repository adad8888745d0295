import os
import stat
from pathlib import Path

import pytest

from treadle.files import make_private_file, open_private_file, sync_folder


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
