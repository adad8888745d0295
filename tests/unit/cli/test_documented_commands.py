"""Commands that the documents show are commands that there are, with flags that they have."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.cli.command import UsageError
from treadle.cli.main import build_parser

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *(DOCS / "tutorial").glob("*.md"),
    *sorted((DOCS / "how-to").glob("*.md")),
    *(page for page in (DOCS / "reference").glob("*.md") if page.stem != "command-line"),
    *sorted((DOCS / "explanation").glob("*.md")),
]
PARSER, _ = build_parser()

TYPED = re.compile(r"^\s*(?:[$] )?(?:[A-Z_]+=\S+ )*(?:\S*/)?treadle ([a-z].*)$")
PIPED = re.compile(r"\| (?:\S*/)?treadle ([a-z][^|]*)")
NAMED = re.compile(r"`treadle ([a-z][^`\n]*)`")
SHELL = re.compile(r"```(?:sh|console)?\n(.*?)```", re.DOTALL)
BLOCK = re.compile(r"```.*?```", re.DOTALL)
OTHER_BLOCK = re.compile(r"```(?!sh\n|console\n)\w+\n.*?```", re.DOTALL)
PARTIAL = re.compile(r"arguments are required|one of the arguments|expected (?:one|at least one)")
"""What is said of a command that a sentence names without all of its arguments."""


def list_commands(text: str) -> Iterator[str]:
    """Find what is typed after `treadle`, in blocks of shell and in sentences."""
    for block in SHELL.findall(OTHER_BLOCK.sub("", text)):
        for line in block.replace("\\\n", " ").splitlines():
            typed = TYPED.match(line.split("  #")[0])
            yield from [typed[1]] if typed else []
            yield from PIPED.findall(line)
    yield from NAMED.findall(BLOCK.sub("", text))


def find_fault(command: str) -> str | None:
    """Return what the parser says of a command; None where it takes it, or would with more."""
    plain = re.split(r" (?:[|<>]|>>|&&) ", command)[0]
    try:
        words = shlex.split(re.sub(r"[\"']?\$\([^)]*\)[\"']?", "X", plain))
    except ValueError:
        return None  # a quotation that goes on in the next line
    if any("..." in word or "|" in word for word in words):
        return None  # several at once: `token ... SOURCE`, `enable|disable`
    try:
        PARSER.parse_args(words)
    except UsageError as error:
        return None if PARTIAL.search(str(error)) else str(error)
    except SystemExit as ended:
        return None if not ended.code else f"ends with {ended.code}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one(page: Path) -> None:
    shown = list_commands(page.read_text())
    wrong = {one: fault for one in shown if (fault := find_fault(one)) is not None}
    assert wrong == {}


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    text = "`treadle status`\n```\n$ A=1 treadle push f --wait\ncat x | treadle singer >> y\n```"
    assert sorted(list_commands(text)) == ["push f --wait", "singer >> y", "status"]
    assert find_fault("log show") is not None
    assert find_fault("push f --table t --no-such-flag") is not None
    assert find_fault("requests --receipt") is None
