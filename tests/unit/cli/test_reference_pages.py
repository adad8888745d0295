"""The generated pages of the reference, compared with what the program says."""

from pathlib import Path

import pytest

from treadle.cli.main import build_parser
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
