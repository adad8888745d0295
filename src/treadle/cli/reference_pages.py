"""Writes the reference pages of settings and commands from their definitions and a template each.

`python -m treadle.cli.reference_pages docs/reference` writes them; a test compares.
"""

import argparse
import sys
from pathlib import Path
from string import Template

from treadle.cli.command import CliCommand
from treadle.cli.examples import list_examples
from treadle.cli.main import COMMANDS, GROUPS, build_parser, make_sentence
from treadle.config import FILE_NAME, FILE_SETTING, PUSH_SETTINGS, SETTINGS, SettingDefinition
from treadle.maintenance.doctor.checks import CHECKS


def write_configuration_page() -> str:
    """Return the text of docs/reference/configuration.md."""
    return _read_template("configuration.md").substitute(
        file_name=FILE_NAME,
        file_option=FILE_SETTING.option,
        file_variable=FILE_SETTING.variable,
        settings="\n".join(_settings_table(SETTINGS)),
        push_settings="\n".join(_settings_table(PUSH_SETTINGS)),
    )


def write_command_line_page() -> str:
    """Return the text of docs/reference/command-line.md."""
    _, leaves = build_parser()
    rows = []
    described = []
    for command in COMMANDS:
        called = " ".join(("treadle", *command.words))
        rows.append(f"| [`{called}`](#{called.replace(' ', '-')}) | {command.help} |")
        described.append("\n".join(_describe_command(command, leaves[command.words])))
    return _read_template("command-line.md").substitute(
        summary=make_sentence(GROUPS[()]),
        commands="\n".join(rows),
        described="\n\n".join(described),
        checks="\n".join(f"| {check.name} | {check.question} |" for check in CHECKS),
    )


def _read_template(page: str) -> Template:
    return Template(Path(__file__).with_name(f"{page}.template").read_text())


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
    examples = list_examples(command.words)
    if examples:
        lines += ["Example:" if len(examples) == 1 else "Examples:", ""]
        lines += ["```sh", *examples, "```", ""]
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
