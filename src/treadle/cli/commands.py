"""The commands of treadle: `commands.json`, each with the function that runs it.

An argument there is what `ArgumentParser.add_argument` takes; one that several commands have stands
under `arguments`, and they name it. An object with `arguments` of its own is a group of them, as
`add_arguments` takes it.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from treadle.cli.command import CliCommand
from treadle.config import SETTINGS

_FILE: Final[dict[str, Any]] = msgspec.json.decode(
    Path(__file__).with_name("commands.json").read_bytes()
)

GROUPS: Final[dict[tuple[str, ...], str]] = {
    tuple(words.split()): help_ for words, help_ in _FILE["groups"].items()
}
"""The help of each group of commands, by the words before the last one."""


def _make_command(words: str, written: dict[str, Any]) -> CliCommand:
    found = written | {"run": _find_function(written["run"])}
    found["arguments"] = tuple(map(_find_argument, written.get("arguments", ())))
    if written.get("settings") == "all":
        found["settings"] = tuple(setting.name for setting in SETTINGS)
    if "run_without_settings" in written:
        found["run_without_settings"] = _find_function(written["run_without_settings"])
    return CliCommand(words=tuple(words.split()), **found)


def _find_function(name: str) -> Callable[..., int]:
    module, _, function = name.partition(".")
    found: Callable[..., int] = getattr(import_module(f"treadle.cli.{module}"), function)
    return found


def _find_argument(written: str | dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _FILE["arguments"][written] if isinstance(written, str) else written
    if "arguments" in found:
        found = found | {"arguments": list(map(_find_argument, found["arguments"]))}
    return found


COMMANDS: Final = tuple(_make_command(*item) for item in _FILE["commands"].items())
