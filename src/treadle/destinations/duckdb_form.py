"""The form of a DuckDB destination: the path of a file in one folder (connect-rest.md A.2.2).

An account token must not write anywhere on the machine. So a client names a path inside of a folder
that the operator chose, and the URL has `/./` where the folder ends: what is behind it stays when
the data folder is moved or restored elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote

from treadle.destinations.form import FormProperty, PathRefusedError

FOLDER_END: Final = "/./"
"""In a URL: the end of the folder, and the beginning of the path that a client named."""


@dataclass(frozen=True, slots=True)
class DuckDBForm:
    """The form of the type `duckdb`.

    Attributes:
        folder: that paths are relative to; absolute.
    """

    folder: Path
    type: str = "duckdb"
    properties: tuple[FormProperty, ...] = (
        FormProperty(
            "path",
            json_schema={"type": "string", "pattern": r"^[^?\\]+\.duckdb$"},
            names_place=True,
        ),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the path inside of the folder; of a file elsewhere, its name alone."""
        path = unquote(url.partition("://")[2])
        head, end, tail = path.partition(FOLDER_END)
        if end:
            return {"path": tail}
        whole = Path(head)
        inside = whole.is_relative_to(self.folder)
        return {"path": str(whole.relative_to(self.folder)) if inside else whole.name}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of a path inside of the folder.

        Raises:
            PathRefusedError: the path leads out of it.
        """
        path = PurePosixPath(properties["path"])
        if path.is_absolute() or ".." in path.parts:
            raise PathRefusedError
        return f"duckdb://{quote(f'{self.folder}{FOLDER_END}{path}')}"


def move_url(url: str, folder: Path) -> str:
    """Return a URL with another folder; one without a folder as it is.

    Args:
        url: of a DuckDB destination, or of files in a folder.
        folder: the present one, absolute.
    """
    scheme, _, path = url.partition("://")
    head, end, tail = unquote(path).partition(FOLDER_END)
    return url if not end or head == str(folder) else f"{scheme}://{quote(f'{folder}{end}{tail}')}"


def move_file(url: str, former: Path, folder: Path) -> str:
    """Return the URL of a file that was in one folder and is in another; one elsewhere as it is.

    Args:
        url: of a DuckDB destination.
        former: the folder before, absolute, links resolved.
        folder: the present one, absolute.
    """
    path = Path(unquote(url.partition("://")[2]))
    if FOLDER_END in unquote(url) or not path.is_relative_to(former):
        return url
    return f"duckdb://{quote(str(folder / path.relative_to(former)))}"
