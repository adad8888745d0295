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
SOURCE = ROOT / "src" / "treadle"
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
FILE = re.compile(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)(?:::\w+)?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = FILE.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_architecture_names_every_room() -> None:
    page = ARCHITECTURE.read_text()
    described = {name for row in re.findall(r"(?m)^\| (.+?) \|", page) for name in row.split("`")}
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= described


def test_every_module_that_architecture_names_is_there() -> None:
    named = re.findall(r"`((?!src/|tests/)[a-z_]+(?:/[a-z_]+)+)`", ARCHITECTURE.read_text())
    found = [name for name in named if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").exists()]
    assert found == named
