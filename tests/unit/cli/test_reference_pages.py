"""The generated pages of the reference, compared with what the program says."""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

from treadle.cli.main import COMMANDS, build_parser
from treadle.cli.reference_pages import PAGES

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_says_what_the_program_says(name: str) -> None:
    page = (REFERENCE / name).read_text()
    assert page == PAGES[name](), "run `python -m treadle.cli.reference_pages docs/reference`"


def test_every_command_is_in_the_reference() -> None:
    page = (REFERENCE / "command-line.md").read_text()
    for words in build_parser()[1]:
        assert f"\n## treadle {' '.join(words)}\n" in page


def find_codes(source: str) -> set[int]:
    """Return the exit codes 1 and 2 that functions of a module return by themselves."""
    found = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or "id='int'" not in ast.dump(
            function.returns or function.args
        ):
            continue
        for one in ast.walk(function):
            value = one.value if isinstance(one, ast.Return) else None
            choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            found |= {each.value for each in choices if isinstance(each, ast.Constant)}
    return {code for code in (1, 2) if code in found}


def test_what_a_command_says_by_its_exit_code_is_in_the_reference() -> None:
    page = (REFERENCE / "command-line.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([12]) \| [^|]+ \|$", page, re.MULTILINE)
    told = {tuple(name.partition(" --")[0].split()): int(code) for name, code in rows}
    assert told.keys() <= {command.words for command in COMMANDS}
    modules: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for command in COMMANDS:
        run = getattr(command.run, "func", command.run)  # of a partial function
        modules[inspect.getfile(run)].add(command.words)
    for path, words in modules.items():
        expected = {told[one] for one in words if one in told}
        assert find_codes(Path(path).read_text()) == expected, path
