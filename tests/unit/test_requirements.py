"""The lock files hold every version with its hashes, and make installs nothing else."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
ALWAYS: list[str] = PROJECT["project"]["dependencies"]
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
NEEDED = {
    "build": PROJECT["build-system"]["requires"],
    "run": [
        *ALWAYS,
        *EXTRAS["bigquery"],
        *EXTRAS["clickhouse"],
        *EXTRAS["files"],
        *EXTRAS["iceberg"],
        *EXTRAS["mysql"],
        *EXTRAS["postgres"],
        *EXTRAS["redshift"],
    ],
    "test": [*ALWAYS, *EXTRAS["postgres"], *EXTRAS["test"]],
    "browser": [*ALWAYS, *EXTRAS["postgres"], *EXTRAS["test"], *EXTRAS["browser"]],
    "chdb": [*ALWAYS, *EXTRAS["postgres"], *EXTRAS["test"], *EXTRAS["chdb"]],
    "lint": [*ALWAYS, *EXTRAS["postgres"], *EXTRAS["test"], *EXTRAS["lint"]],
    "fuzz": [*ALWAYS, *EXTRAS["postgres"], *EXTRAS["fuzz"]],
    "bqemulator": EXTRAS["bqemulator"],
    "snowflake": [*ALWAYS, *EXTRAS["test"], *EXTRAS["snowflake"]],
    "fakesnow": [*EXTRAS["fakesnow"], *EXTRAS["snowflake"]],
    "sbom": EXTRAS["sbom"],
    "sqlglot": EXTRAS["sqlglot"],
    "lock": EXTRAS["lock"],
    "node": EXTRAS["node"],
}


def read_lock(name: str) -> dict[str, list[Requirement]]:
    """Name -> what a lock says of it, with the locks that it begins with."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found |= read_lock(line.removeprefix("-r ").removesuffix(".txt"))
        elif line[0] not in "# ":
            one = Requirement(line.removesuffix("\\"))
            found.setdefault(canonicalize_name(one.name), []).append(one)
    return found


def test_there_is_a_lock_for_each_purpose() -> None:
    assert {path.stem for path in LOCKS} == NEEDED.keys()


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_line_is_a_version_with_hashes(path: Path) -> None:
    first, *lines = path.read_text().splitlines()
    assert first == "# Written by `make lock`."
    version = ""
    hashes = 1
    for line in lines:
        if HASH.match(line):
            hashes += 1
        elif not re.fullmatch(r"-r [a-z]+\.txt", line):
            assert hashes, version
            assert re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.]+( ; [^\\]+)? \\", line), line
            version, hashes = line, 0
    assert hashes, version


@pytest.mark.parametrize("name", NEEDED)
def test_a_lock_holds_what_is_needed_in_a_version_that_fits(name: str) -> None:
    locked = read_lock(name)
    for text in NEEDED[name]:
        wanted = Requirement(text)
        versions = locked.get(canonicalize_name(wanted.name), [])
        assert versions, f"{text}: run `make lock ARGS=--keep`"
        for one in versions:
            assert wanted.specifier.contains(str(one.specifier).removeprefix("=="))


def test_a_version_is_the_same_in_every_lock() -> None:
    versions: dict[str, set[str]] = {}
    for name in NEEDED.keys() - {"bqemulator"}:  # it is never beside the others
        for package, found in read_lock(name).items():
            versions.setdefault(package, set()).update(str(one.specifier) for one in found)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_a_server_is_installed_without_what_tests_need() -> None:
    tools = {"pytest", "hypothesis", "schemathesis", "mypy", "ruff", "atheris", "uv", "pip"}
    assert not tools & read_lock("run").keys()


def test_a_person_sees_how_far_an_installation_is_and_a_log_does_not() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "PIP_INSTALL := -m pip install $(if $(CI),--quiet) " in makefile
    assert "@echo 'Installing what is needed to $* treadle" in makefile


def test_make_installs_nothing_without_a_hash_but_the_project() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "--no-build-isolation --no-deps" in makefile
    for line in makefile.splitlines():
        if "pip install" in line:
            assert line.startswith("PIP_INSTALL := ")
        if "$(PIP_INSTALL)" in line:
            assert "--require-hashes" in line or line.endswith(
                (" --editable .", "$(PIP_INSTALL) .")
            )
        if "pip download" in line:
            assert line.startswith("PIP_DOWNLOAD := ")
        if "$(PIP_DOWNLOAD)" in line:
            assert "--require-hashes" in line
        if "$(LOCKED)" in line:
            fetched = r" \$\(if .*,--no-index --find-links .*\)"
            assert re.search(rf"requirements/(\w+|\$\*)\.txt({fetched})?$", line), line
