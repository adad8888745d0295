"""The definition of a command, and how its flags are made from the settings."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from treadle.cli.output import print_error
from treadle.config import (
    FILE_SETTING,
    PUSH_SETTINGS,
    SETTINGS,
    Config,
    OperatorWarning,
    SettingDefinition,
)
from treadle.config.setting import option_of
from treadle.errors import OperatorError

Arguments = argparse.Namespace

NUMBER_MAX: Final = 2**63 - 1
"""The greatest number of a database."""


class UsageError(OperatorError):
    """The command line cannot be understood."""


class CommandParser(argparse.ArgumentParser):
    """Raises UsageError with one sentence, where argparse would print the usage and exit."""

    intermixed = False
    """Flags may stand between the words of a list."""

    overview: str | None = None
    """A text in place of the help that argparse makes."""

    def format_help(self) -> str:
        """Return the help of the command."""
        return super().format_help() if self.overview is None else f"{self.overview}\n"

    # The overloads of argparse say no more than this.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Arguments | None = None
    ) -> tuple[Arguments, list[str]]:
        """Parse what can be parsed, as argparse does."""
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # parse_known_intermixed_args calls this method again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

    def error(self, message: str) -> NoReturn:
        """Raise UsageError. argparse gives a message in lower case, without a full stop."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see `{self.prog} --help`.")


def parse_positive(flag: str, text: str) -> int:
    """Parse the value of a flag that is a whole number from 1 to 2^63 - 1.

    Raises:
        OperatorError: it is not such a number.
    """
    found = parse_digits(text)
    if not found:
        raise OperatorError(f"{flag} is to be a whole number above 0, not {text!r}.")
    return found


def parse_digits(text: str) -> int | None:
    """Return the whole number from 0 to 2^63 - 1 that a text is; None for any other text."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    # Python reads no number of thousands of digits.
    found = int(digits) if len(digits) <= len(str(NUMBER_MAX)) else NUMBER_MAX + 1
    return found if found <= NUMBER_MAX else None


def print_warning(warning: OperatorWarning) -> None:
    """Print a warning for the operator, on standard error."""
    print_error(f"Warning: {warning}")


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the command takes settings only."""


@dataclass(frozen=True, slots=True)
class CliCommand:
    """One command.

    Attributes:
        words: the words that call it, ("account", "create").
        help: one line, without a full stop.
        run: runs it with the settings and the arguments; returns the exit code.
        arguments: adds the arguments that are not settings to the parser.
        settings: names of the settings that it takes as flags. Every command takes `data`, `store`
            and `config`.
        push: it takes the settings of PushConfig, too.
        defaults: setting -> its default in words, if this command has its own.
        helps: setting -> its help, if this command means something else by it.
        intermixed: flags may stand between the words of a list.
        run_without_settings: runs instead if the settings cannot be read; None to end with the
            error.
        takes_warnings: it tells warnings about the settings itself; it finds them in
            `arguments.warnings`.
        opens_data: it does not run where others can write to the data folder.
    """

    words: tuple[str, ...]
    help: str
    run: Callable[[Config, Arguments], int]
    arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    settings: tuple[str, ...] = ()
    push: bool = False
    defaults: Mapping[str, str] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)
    intermixed: bool = False
    run_without_settings: Callable[[OperatorError, Arguments], int] | None = None
    takes_warnings: bool = False
    opens_data: bool = True

    @property
    def flags(self) -> tuple[SettingDefinition, ...]:
        """The settings that the command takes as flags."""
        taken = {"data", "store", *self.settings}
        names = taken | {s.name for s in SETTINGS if s.content_of in taken}
        chosen = tuple(
            replace(
                s,
                shown_default=self.defaults.get(s.name, s.shown_default),
                help=self.helps.get(s.name, s.help),
            )
            for s in SETTINGS
            if s.name in names and s.flag
        )
        return (*(PUSH_SETTINGS if self.push else ()), *chosen, FILE_SETTING)


def add_setting_flags(
    parser: argparse.ArgumentParser, settings: Iterable[SettingDefinition]
) -> None:
    """Give the parser a flag for every setting. The help names its environment variable.

    The values stay text. They are checked together with those of the other places, so that the
    error texts are the same.
    """
    group = parser.add_argument_group("settings")
    for setting in settings:
        group.add_argument(
            setting.option,
            dest=setting.name,
            metavar=setting.name.upper(),
            help=f"{setting.help} [{setting.variable}; default: {setting.shown_default}]",
        )
        if setting.former_name is not None:
            group.add_argument(
                option_of(setting.former_name), dest=setting.former_name, help=argparse.SUPPRESS
            )


def collect_flags(
    arguments: Arguments, settings: Iterable[SettingDefinition]
) -> dict[str, str | None]:
    """Return setting name -> the text of its flag, None if it was not given."""
    return {name: getattr(arguments, name, None) for setting in settings for name in setting.names}
