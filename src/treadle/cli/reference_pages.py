"""Writes the reference pages of settings and commands from their definitions.

`python -m treadle.cli.reference_pages docs/reference` writes them; a test compares.
"""

import argparse
import sys
from pathlib import Path

from treadle.cli.command import CliCommand
from treadle.cli.commands import COMMANDS, GROUPS
from treadle.cli.main import build_parser, make_sentence
from treadle.config import FILE_NAME, FILE_SETTING, PUSH_SETTINGS, SETTINGS, SettingDefinition
from treadle.maintenance.doctor.checks import CHECKS

MADE_NOTE = (
    "<!-- Made by `python -m treadle.cli.reference_pages docs/reference`; "
    "change the program instead. -->"
)


def write_configuration_page() -> str:
    """Return the text of docs/reference/configuration.md."""
    lines = [
        "# Configuration",
        MADE_NOTE,
        "",
        "A setting is taken from the first place that has it:",
        "",
        "1. the flag",
        "2. the environment variable; one that is set but empty counts as not set",
        (
            "3. the key in the settings file: the file named by "
            f"`{FILE_SETTING.option}` or `{FILE_SETTING.variable}`,"
        ),
        f"   otherwise `{FILE_NAME}` in the data folder, if it is there",
        "4. the default",
        "",
        "The settings are read and checked when a command starts. A name that is none and a value",
        "that is none stop it with exit code 2 and a sentence that says where it was found.",
        "",
        "```toml",
        f"# {FILE_NAME}",
        "port = 8484",
        'destination = "postgresql://loader:secret@db.example.com/warehouse"',
        "load_age_seconds = 5",
        "```",
        "",
        "A relative `data` in a file that `--config` names is relative to that file. The file in",
        "the data folder cannot set `data`.",
        "",
        "## Settings",
        "",
        *_settings_table(SETTINGS),
        "",
        "`secret_key` and `metrics_token` have no flag, because other users of a machine can read",
        "the flags of its processes. Without `secret_key`, the key is made at the first start and",
        "kept in `secret.key` in the data folder: back that file up together with the store.",
        "",
        "## Settings of `treadle push`",
        "",
        "Flags and environment variables only.",
        "",
        *_settings_table(PUSH_SETTINGS),
        "",
        "## What is in the data folder",
        "",
        "| file | what it holds |",
        "|---|---|",
        f"| `{FILE_NAME}` | settings, if you put them there |",
        "| `store.sqlite` | accounts, sources, tokens, loads |",
        "| `log.sqlite` | accepted requests, kept for `retention_days` after they were loaded |",
        "| `secret.key` | the key that tokens and destination URLs are encrypted with |",
        "| `warehouse.duckdb` | the rows, when no `destination` is set |",
        "| `treadle.lock` | locked while a server runs |",
        "| `counters/` | what each process counted, for `/metrics` |",
        "| `replay.lock` | locked while `treadle replay` is at work |",
        "| `push/` | how far interrupted pushes came |",
        "| `log.sqlite.damaged-1`, ... | a damaged log that was put aside |",
        "| `...-wal`, `...-shm`, `...-lock` | a part of the file of that name: leave it there |",
        "",
    ]
    return "\n".join(lines)


def write_command_line_page() -> str:
    """Return the text of docs/reference/command-line.md."""
    lines = [
        "# Command line",
        MADE_NOTE,
        "",
        f"{make_sentence(GROUPS[()])} `python -m treadle` is the same as `treadle`.",
        "",
        "Commands that look after accounts, sources and tokens open the store in the data folder",
        "and may be used while the server runs.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | done |",
        (
            "| 1 | a fault of treadle's own, with a traceback; "
            "`doctor`, `audit`, `replay`, `push --wait`: act on it |"
        ),
        "| 2 | refused, with one sentence on standard error that says what to do |",
        "| 130 | stopped by Ctrl-C |",
        "| 141 | nobody reads the output any more |",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    for command in COMMANDS:
        called = " ".join(("treadle", *command.words))
        lines.append(f"| [`{called}`](#{called.replace(' ', '-')}) | {command.help} |")
    _, leaves = build_parser()
    for command in COMMANDS:
        lines += ["", *_describe_command(command, leaves[command.words])]
    lines += [
        "",
        "## How `treadle push` numbers and repeats",
        "",
        "Records get sequences that count up from the time the push began, in nanoseconds. So of",
        "two records with the same key the later one in the file wins, and a file pushed again",
        "wins over what was pushed before. `--sequence-field` takes the sequence from the data.",
        "",
        "A server that is busy (503) or cannot be reached is tried again for `--retry-seconds`.",
        "Refused records end the push, with the server's answer and the place of the first one.",
        "An interrupted push that is started again with the same file, table and key goes on",
        "behind the last acknowledged request, with the sequences it would have had;",
        "`--no-resume` starts at the first record. Standard input is always read from its",
        "beginning.",
        "",
        "With `--wait` it ends when every record of this run is in its table, however long that",
        "takes, and prints how many were loaded, superseded and rejected. Where some were",
        "rejected, or the table is stopped, it does not end with 0.",
        "",
        "## What `treadle doctor` looks at",
        "",
        "| subject | question |",
        "|---|---|",
        *(f"| {check.name} | {check.question} |" for check in CHECKS),
        "",
    ]
    return "\n".join(lines)


def _describe_command(command: CliCommand, parser: argparse.ArgumentParser) -> list[str]:
    called = " ".join(("treadle", *command.words))
    required = [action for action in parser._actions if action.required]
    words = " ".join(
        (
            called,
            *(f"{a.option_strings[-1]} {a.metavar}" for a in required if a.option_strings),
            "[OPTION ...]",
            *(str(a.metavar) for a in required if not a.option_strings),
        )
    )
    lines = [f"## {called}", "", make_sentence(command.help), ""]
    lines += ["```text", words, "```", ""]
    lines += ["| argument | environment | default | meaning |", "|---|---|---|---|"]
    settings = {setting.option: setting for setting in command.flags}
    for name, help_ in _list_arguments(parser):
        setting = settings.get(name)
        if setting is None:
            about, _, default = help_.partition(" (default: ")
            lines.append(f"| `{name}` | | {default.removesuffix(')')} | {about} |")
        else:
            lines.append(
                f"| `{name}` | `{setting.variable}` | {_format_default(setting)} | {setting.help} |"
            )
    return lines


def _list_arguments(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Return name and help of every argument, in the order of the help."""
    actions = parser._actions  # argparse has no public list of them
    return [
        (action.option_strings[-1] if action.option_strings else str(action.metavar), action.help)
        for action in actions
        if action.help not in (None, argparse.SUPPRESS) and action.dest != "help"
    ]


def _settings_table(settings: tuple[SettingDefinition, ...]) -> list[str]:
    lines = [
        "| setting | flag | environment | value | default | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for setting in settings:
        flag = f"`{setting.option}`" if setting.flag else ""
        lines.append(
            f"| `{setting.name}` | {flag} | `{setting.variable}` | {setting.kind.expected} "
            f"| {_format_default(setting)} | {setting.help} |"
        )
    return lines


def _format_default(setting: SettingDefinition) -> str:
    """Return the default: as code if it is a value, in words if it is taken from elsewhere."""
    plain = setting.default is not None
    return f"`{setting.shown_default}`" if plain else setting.shown_default


PAGES = {"configuration.md": write_configuration_page, "command-line.md": write_command_line_page}


def main(folder: Path) -> int:
    """Write the pages."""
    for name, made in PAGES.items():
        (folder / name).write_text(made())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
