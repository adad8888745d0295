"""README's commands do what README says."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from tests.servers.shell import needs_curl, patient, typed
from tests.servers.treadle import TreadleServer

from treadle.guide import write_guide

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def alike(text: str) -> list[str]:
    """Lines with what differs from run to run made equal: times, tokens, blanks at the end."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "2026-01-01T00:00:00.000000Z", text)
    return [line.rstrip() for line in text.splitlines()]


def shell(lines: str, server: TreadleServer, folder: Path) -> str:
    """Run lines of the README; `.venv/bin/treadle` is the treadle under test."""
    program = f"{shlex.quote(sys.executable)} -m treadle"
    lines = re.sub(r"\.venv/bin/treadle (\w+)", rf"{program} \1 --data {server.data}", lines)
    lines = lines.replace("treadle-data", str(server.data))
    return typed(lines, {"TREADLE_PORT": str(server.port)}, folder)


def test_the_walk_through_is_the_guide_that_the_server_prints() -> None:
    walk = [block for block in blocks("sh") if "curl" in block]
    token = "$(cat treadle-data/account.token)"
    printed = write_guide("http://127.0.0.1:8484", token, 1, ".venv/bin/treadle query")
    assert "\n".join(walk) == printed


@needs_curl
@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_the_walk_through_answers_what_readme_shows(server: TreadleServer, tmp_path: Path) -> None:
    first, second = (block for block in blocks("sh") if "curl" in block)
    lines = (first + second).replace("http://127.0.0.1:8484", server.url)
    said = alike(shell(patient(lines), server, tmp_path))
    pushed, rotated = (alike(block) for block in blocks("text"))
    assert said[2 : 2 + len(pushed)] == pushed
    assert said[-len(rotated) :] == rotated

    [file] = (block for block in blocks("sh") if "orders.ndjson" in block)
    assert shell(file, server, tmp_path).split()[-1] == "3"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    commands = [block.strip() for block in blocks("sh") if block.startswith("make ")]
    assert commands == ["make run", "make test"]
    for command in commands:
        assert re.search(rf"(?m)^{command.removeprefix('make ')}:", makefile)


def test_every_link_leads_to_a_file() -> None:
    root = Path(__file__).parents[2]
    for page in [root / "README.md", *sorted(root.glob("docs/**/*.md")), root / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"
