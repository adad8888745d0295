"""Which files of the data folder are treadle's own: no setting names one for something else."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from treadle.errors import OperatorError

OWN_NAMES: Final = (
    "*.sqlite*",
    "*.lock",
    "secret.key*",
    "account.token",
    "warehouse.duckdb*",
    "treadle.toml",
    "moved.json",
)
"""Patterns of names in the data folder of what would be lost; some of the files come later."""


def require_other_file(setting: str, path: Path, folder: Path) -> None:
    """Refuse a file of a setting that is one of treadle's own.

    Args:
        setting: its name.
        path: what it names.
        folder: the data folder.

    Raises:
        OperatorError: it is one.
    """
    found = path.resolve()
    if found.parent == folder.resolve() and any(fnmatchcase(found.name, one) for one in OWN_NAMES):
        raise OperatorError(
            f"{setting} is {path}, a file of treadle's own in its data folder, which would be lost "
            "or damaged; name another file."
        )
