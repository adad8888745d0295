"""What is in the wheel, and in the files with the locked versions beside it."""

import hashlib
import re
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.servers.wheel import ROOT, build_wheel

from treadle import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def files_below(folder: Path) -> set[str]:
    """Files that belong to the source: neither compiled ones nor notes for developers."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.name not in {"README.md", ".env"}
    }


def test_every_file_of_the_source_is_in_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    about = {name for name in names if name.startswith(f"treadle-{__version__}.dist-info/")}
    shared = f"treadle-{__version__}.data/data/share/treadle/"
    deployed = {name.removeprefix(shared) for name in names if name.startswith(shared)}
    program = {name.removeprefix("treadle/") for name in names if name.startswith("treadle/")}
    assert len(names) == len(about) + len(deployed) + len(program)
    assert program == files_below(ROOT / "src" / "treadle")
    assert deployed == files_below(ROOT / "deploy")
    for needed in (
        "py.typed", "guide.sh.template", "console/static/console.css", "ingest/import_api.json",
        "cli/configuration.md.template", "store/migrations/script.py.mako",
    ):  # fmt: skip
        assert needed in program
    assert sum(name.startswith("console/templates/") for name in program) > 60
    assert wheel.stat().st_size < 2_500_000


def test_it_says_what_it_needs_and_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata, entries] = (
            archive.read(f"treadle-{__version__}.dist-info/{name}").decode()
            for name in ("METADATA", "entry_points.txt")
        )
    about = Parser().parsestr(metadata)
    assert (about["Name"], about["Version"]) == ("treadle", PROJECT["version"])
    assert PROJECT["version"] == __version__
    needed = {str(Requirement(text)) for text in about.get_all("Requires-Dist", [])}
    assert {text for text in needed if "extra ==" not in text} == {
        str(Requirement(text)) for text in PROJECT["dependencies"]
    }
    assert any(text.startswith("psycopg[binary]") and "postgres" in text for text in needed)
    assert "treadle = treadle.cli.main:main" in entries


def test_the_locked_versions_are_those_of_a_server(wheel: Path) -> None:
    run = (ROOT / "requirements" / "run.txt").read_text()
    versions = re.findall(r"(?m)^[a-z0-9.-]+==\S+", run)
    constraints = (wheel.parent / f"treadle-{__version__}.constraints.txt").read_text()
    assert re.findall(r"(?m)^[a-z0-9.-]+==\S+", constraints) == versions
    assert "--hash" not in constraints
    for line in constraints.splitlines()[1:]:
        Requirement(line)  # with its marker, and nothing behind it
    locked = (wheel.parent / f"treadle-{__version__}.locked.txt").read_text()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert locked.endswith(f"\ntreadle=={__version__} \\\n    --hash=sha256:{digest}\n")
    assert locked.count("--hash=") == run.count("--hash=") + 1
