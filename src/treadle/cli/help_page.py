"""`treadle help` and `treadle version`, and the page of all commands."""

import argparse
from collections.abc import Mapping
from typing import Final

from treadle import __version__
from treadle.cli.command import Arguments, CliCommand
from treadle.cli.examples import list_examples
from treadle.cli.output import print_line
from treadle.config import Config

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Run": ("serve", "status", "problems", "doctor", "console", "members"),
    "Set up": (
        *("init", "cluster"),
        *("account", "source", "destination", "token", "user", "hook", "recipient"),
        *("apply", "export"),
    ),
    "Bring records in": ("push", "singer", "plan"),
    "See what became of them": (
        *("query", "dbt", "table", "loads", "ledger", "requests", "rejects", "audit", "trail"),
    ),
    "Repair and move": ("replay", "log", "backup", "restore", "key", "upgrade"),
    "More": ("metrics", "completion", "help", "version"),
}
"""Title -> the first words of the commands below it. Others stand below the last one."""


def write_overview(summary: str, first_words: Mapping[str, str]) -> str:
    """Return the page of all commands.

    Args:
        summary: what the program does.
        first_words: the first word of each command or group -> its help.
    """
    placed = {word for words in SECTIONS.values() for word in words}
    others = [word for word in first_words if word not in placed]
    widest = max(map(len, first_words))
    lines = [f"treadle {__version__}: {summary}", "", "usage: treadle COMMAND [ARGUMENT ...]"]
    for title, words in SECTIONS.items():
        last = title == list(SECTIONS)[-1]
        shown = [*(others if last else ()), *(word for word in words if word in first_words)]
        lines += ["", f"{title}:"] if shown else []
        lines += [f"  {word:{widest}}  {first_words[word]}" for word in shown]
    return "\n".join(
        (
            *lines,
            "",
            "`treadle help COMMAND` explains a command, with an example.",
        )
    )


def write_examples(words: tuple[str, ...]) -> str:
    """Return the examples of a command, for the end of its help; empty without one."""
    lines = list_examples(words)
    if not lines:
        return ""
    title = "example:" if len(lines) == 1 else "examples:"
    return "\n".join((title, *(f"  {line}" for line in lines)))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "called", metavar="COMMAND", nargs="*", help="words of a command (default: all commands)"
    )


def explain_nothing(config: Config, arguments: Arguments) -> int:
    """Do nothing: `help COMMAND` is read as `COMMAND --help` before any command runs."""
    return 0


def print_version(config: Config, arguments: Arguments) -> int:
    """Print the version."""
    print_line(f"treadle {__version__}")
    return 0


COMMANDS: Final = (
    CliCommand(
        words=("help",),
        help="explain a command, or list all",
        run=explain_nothing,
        arguments=_arguments,
    ),
    CliCommand(
        words=("version",),
        help="print the version",
        run=print_version,
        run_without_settings=lambda _, arguments: print_version(Config(), arguments),
        opens_data=False,
    ),
)
