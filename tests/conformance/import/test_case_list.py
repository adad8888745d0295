"""`cases.txt` names the tests of every case of import-api.md 18, and they are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 208
FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]


def listed() -> dict[int, list[str]]:
    """Case -> its tests: file, name, and parameters where they tell cases apart."""
    found: dict[int, list[str]] = {}
    for line in (FOLDER / "cases.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            number, *tests = line.split()
            assert int(number) not in found, f"case {number} is listed twice"
            found[int(number)] = tests
    return found


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The tests there are, in the spelling of the list."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", str(FOLDER)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    start = f"{FOLDER.relative_to(ROOT)}/"
    lines = [line for line in done.stdout.splitlines() if line.startswith(start)]
    found = {line.removeprefix(start) for line in lines}
    return found | {line.partition("[")[0] for line in found}


def test_every_case_is_listed_once_in_order() -> None:
    assert list(listed()) == list(range(1, CASES + 1))
    assert all(listed().values())


def test_every_listed_test_is_there(collected: set[str]) -> None:
    missing = {number: set(tests) - collected for number, tests in listed().items()}
    assert {number: tests for number, tests in missing.items() if tests} == {}


def test_every_listed_test_is_named_by_its_number() -> None:
    for number, tests in listed().items():
        for test in tests:
            name = test.partition("::")[2]
            numbers = re.match(r"test_((?:\d+_)+)", name)
            in_name = numbers[1].strip("_").split("_") if numbers else []
            in_parameter = re.search(r"\[(\d+)(?!\d)", name)
            assert str(number) in [*in_name, *(in_parameter.groups() if in_parameter else [])], test
