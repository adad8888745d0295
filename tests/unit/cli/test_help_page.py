"""Help, version, examples and what is proposed for a misspelt word."""

import pytest

from treadle import __version__
from treadle.cli.examples import EXAMPLES, list_examples
from treadle.cli.help_page import SECTIONS, write_overview
from treadle.cli.main import COMMANDS, DESTRUCTIVE, build_parser, main

LEAVES = build_parser()[1]


@pytest.mark.parametrize("line", ["", "help", "--help"])
def test_all_commands_are_listed_in_groups(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(line.split())
    out = capsys.readouterr().out
    lines = out.splitlines()
    for title, words in SECTIONS.items():
        at = lines.index(f"{title}:")
        there = [word for word in words if any(one.words[0] == word for one in COMMANDS)]
        assert [one.split()[0] for one in lines[at + 1 : at + 1 + len(there)]] == there
    shown = {one.split()[0] for one in lines if one.startswith("  ")}
    assert shown == {command.words[0] for command in COMMANDS}


def test_a_command_without_a_place_stands_below_the_last_title() -> None:
    page = write_overview("Loads.", {"help": "explain", "weave": "do"})
    assert page.splitlines()[4:7] == ["More:", "  weave  do", "  help   explain"]


@pytest.mark.parametrize(
    "line", ["help source create", "source create --help", "help source", "source --help"]
)
def test_help_of_a_command_is_that_of_its_flag(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(line.split())
    out = capsys.readouterr().out
    assert out.startswith("usage: treadle source")
    if "create" in line:
        assert out.endswith("\nexample:\n  treadle source create Shop --json\n")


def test_help_of_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "srve"]) == 2
    assert "did you mean `treadle serve`?" in capsys.readouterr().err


def test_help_and_version_need_no_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_PORT", "x")
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"treadle {__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        main(["help", "serve"])
    assert main(["completion", "bash"]) == 0


def test_every_command_has_an_example() -> None:
    named = {example.words for example in EXAMPLES}
    assert [command.words for command in COMMANDS if command.words not in named] == []
    for example in EXAMPLES:
        assert example.words in LEAVES, example
        assert example.line in list_examples(example.words)


@pytest.mark.parametrize("words", [words for words in LEAVES if words[-1] in DESTRUCTIVE])
def test_no_command_is_proposed_that_takes_something_away(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for misspelt in (f"{words[-1]}x", words[-1][:-1], f"{words[-1][:-1]}q"):
        assert main([*words[:-1], misspelt]) == 2
        err = capsys.readouterr().err
        assert "There is no command" in err
        proposed = err.rpartition("`treadle ")[2].partition("`")[0]
        assert proposed.split()[-1] not in DESTRUCTIVE


def test_the_help_of_a_typical_slip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replai"]) == 2
    assert "replay" not in capsys.readouterr().err
