"""Files that the documents name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
]
FILE = re.compile(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)(?:::\w+)?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = FILE.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_architecture_names_every_room() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    described = {name for row in re.findall(r"(?m)^\| (.+?) \|", page) for name in row.split("`")}
    packages = {path.parent.name for path in (ROOT / "src" / "treadle").glob("*/__init__.py")}
    assert packages <= described
