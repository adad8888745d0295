"""Reads the values of settings from flags, the environment and files."""

import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from treadle.config.kinds import FileKind, FolderKind, TextKind, expand_home, suggest_nearest
from treadle.config.service_links import is_service_link
from treadle.config.setting import PREFIX, SettingDefinition, option_of
from treadle.errors import OperatorError
from treadle.file_rights import Exposure, describe_exposure, judge_rights

FILE_NAME = "treadle.toml"

FILE_SETTING = SettingDefinition(
    name="config",
    kind=TextKind("the path of a file"),
    default=None,
    help="file with settings",
    prefix=PREFIX,
    shown_default=f"{FILE_NAME} in the data folder",
    flag=True,
    file=False,
)
"""The setting that names the file for the others."""

CONTENT_BYTES_MAX: Final = 65_536
"""Most bytes of a file that holds the value of one setting."""


@dataclass(frozen=True, slots=True)
class OperatorWarning:
    """Something that works and should not stay so.

    Attributes:
        found: what was found, one sentence.
        meaning: what follows from it, one sentence.
        remedy: what to do, one sentence.
    """

    found: str
    meaning: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found} {self.meaning} {self.remedy}"


Warn = Callable[[OperatorWarning], None]
"""Takes a warning, when it is found."""


def ignore_warning(_: OperatorWarning) -> None:
    """Do nothing with a warning."""


def select_variables(
    environ: Mapping[str, str], settings: Iterable[SettingDefinition]
) -> dict[str, str]:
    """Return treadle's environment variables that are not empty.

    Those that Kubernetes sets for a Service with treadle in its name are left out.

    Raises:
        OperatorError: one of them belongs to no setting.
    """
    known = [variable for setting in settings for variable in setting.variables]
    found = {
        name: text
        for name, text in environ.items()
        if name.startswith(PREFIX) and not is_service_link(name, text)
    }
    for name in sorted(found.keys() - set(known)):
        # Compared without the prefix, with which all of them are near to each other.
        names = [variable.removeprefix(PREFIX) for variable in known]
        near = suggest_nearest(name.removeprefix(PREFIX), names).replace("mean ", f"mean {PREFIX}")
        raise OperatorError(f"The environment variable {name} sets nothing{near}")
    return {name: text for name, text in found.items() if text}


def read_settings(
    settings: tuple[SettingDefinition, ...],
    flags: Mapping[str, str],
    variables: Mapping[str, str],
    warn: Warn = ignore_warning,
    *,
    file: bool = True,
) -> dict[str, Any]:
    """Return setting name -> value for the settings that any place sets.

    A setting and the one that names a file with its content are one choice: the first place that
    has either of them decides.

    Args:
        settings: all of them.
        flags: setting name -> text given with its flag.
        variables: of the environment, as `select_variables` returns them.
        warn: called with each warning.
        file: look for a settings file, too.

    Raises:
        OperatorError: a value is not valid, or a file cannot be used.
    """
    pairs = [
        (setting, other)
        for other in settings
        for setting in settings
        if setting.name == other.content_of
    ]
    for pair in pairs:
        if any(name in flags for one in pair for name in one.names):
            variables = {
                variable: text
                for variable, text in variables.items()
                if all(variable not in one.variables for one in pair)
            }
    _warn_of_flags(settings, flags, warn)
    texts = parse_texts(settings, flags, variables)
    values = read_settings_file(settings, flags, variables, warn) if file else {}
    for pair in pairs:
        if any(one.name in texts for one in pair):
            for one in pair:
                values.pop(one.name, None)
    values |= texts
    for setting, other in pairs:
        if other.name not in values:
            continue
        if setting.name in values:
            raise OperatorError(
                f"{setting.name} and {other.name} are both set, and are one setting; keep one of "
                "them."
            )
        values[setting.name] = _read_content(setting, other, values[other.name], warn)
    return values


def find_origins(
    settings: Iterable[SettingDefinition],
    flags: Mapping[str, str],
    variables: Mapping[str, str],
    values: Mapping[str, Any],
) -> dict[str, str]:
    """Return setting name -> "flag", "environment" or "file", for those that a place sets.

    A setting whose value is the content of a file has the origin of the one that names the file.

    Args:
        settings: all of them.
        flags: setting name -> text given with its flag.
        variables: of the environment.
        values: what was read.
    """
    origins: dict[str, str] = {}
    for setting in settings:
        if setting.name not in values:
            continue
        if any(name in flags for name in setting.names):
            origin = "flag"
        elif any(variable in variables for variable in setting.variables):
            origin = "environment"
        else:
            origin = "file"
        origins[setting.name] = origin
    for setting in settings:
        if setting.content_of is not None and setting.name in origins:
            origins[setting.content_of] = origins[setting.name]
    return origins


def parse_texts(
    settings: Iterable[SettingDefinition], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return setting name -> value for the settings that a flag or a variable sets.

    Raises:
        OperatorError: a value is not valid.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        places = [(option_of(name), flags[name]) for name in setting.names if name in flags] + [
            (f"The environment variable {variable}", variables[variable])
            for variable in setting.variables
            if variable in variables
        ]
        if not places:
            continue
        place, text = places[0]
        try:
            values[setting.name] = setting.kind.parse(text)
        except ValueError:
            raise setting.make_error(place, text) from None
    return values


def _warn_of_flags(
    settings: Iterable[SettingDefinition], flags: Mapping[str, str], warn: Warn
) -> None:
    """Warn of secrets in flags: every user of a machine can list the flags of its processes."""
    files = {setting.content_of: setting for setting in settings if setting.content_of}
    for setting in settings:
        if not any(setting.holds_secret(flags[name]) for name in setting.names if name in flags):
            continue
        instead = f"Give it in {setting.variable}"
        if (other := files.get(setting.name)) is not None:
            named = f"{other.name} or {other.variable}" if other.file else other.variable
            instead += f", or in a file that {named} names"
        warn(
            OperatorWarning(
                f"The flag {setting.option} holds a secret.",
                "Every user of this machine can read it in the list of processes.",
                f"{instead}.",
            )
        )


def read_settings_file(
    settings: tuple[SettingDefinition, ...],
    flags: Mapping[str, str],
    variables: Mapping[str, str],
    warn: Warn = ignore_warning,
) -> dict[str, Any]:
    """Return setting name -> value for the settings that the file sets.

    Raises:
        OperatorError: the file cannot be read, others can write it, or one of its keys or values
            is not valid.
    """
    named = flags.get(FILE_SETTING.name) or variables.get(FILE_SETTING.variable)
    if named is not None:
        try:
            path = expand_home(named)
        except ValueError:
            raise OperatorError(f"There is no home folder for the settings file {named}.") from None
    else:
        data = next(setting for setting in settings if setting.name == "data")
        folder = parse_texts([data], flags, variables).get("data", data.default)
        path = Path(folder) / FILE_NAME
    try:
        content, mode = _read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return {}
        raise OperatorError(f"There is no settings file {path}.") from None
    except OSError as error:
        if named is None and not os.access(path.parent, os.X_OK):
            raise OperatorError(
                f"The data folder {path.parent} cannot be opened by this user: {error.strerror}; "
                "run treadle as the user that it belongs to, or name another folder with --data."
            ) from error
        raise OperatorError(f"Cannot read the settings file {path}: {error.strerror}.") from error
    exposure = judge_rights(mode)
    if exposure is Exposure.REFUSED:
        raise _make_exposed_error("settings file", path, mode)
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        # Without the parser's exception as the cause: it may quote a line that contains a secret.
        raise OperatorError(f"The settings file {path} is not TOML: {error}.") from None
    known = {name: setting for setting in settings if setting.file for name in setting.names}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise OperatorError(
                f"The settings file {path} has the key {key!r}, "
                f"which sets nothing{suggest_nearest(key, known)}"
            )
        if key == "data" and named is None:
            raise OperatorError(
                f"The settings file {path} was found in the data folder, so it cannot set 'data'; "
                "set it with --data or TREADLE_DATA, or name the file with --config."
            )
        setting = known[key]
        if setting.name in values:
            raise OperatorError(
                f"The settings file {path} sets {' and '.join(map(repr, setting.names))}, which "
                "are one setting; keep one of them."
            )
        try:
            values[setting.name] = setting.kind.check(_place_beside(setting, path, value))
        except ValueError:
            raise setting.make_error(f"{key!r} in {path}", value) from None
    secret = any(
        setting.holds_secret(values[setting.name]) for setting in settings if setting.name in values
    )
    if exposure is Exposure.READABLE and secret:
        warn(_make_readable_warning("settings file", path, mode))
    return values


def _place_beside(setting: SettingDefinition, file: Path, value: object) -> object:
    """Return a value of a settings file: a relative path is relative to the file that names it.

    Raises:
        ValueError: its `~` means no folder.
    """
    if not isinstance(setting.kind, FolderKind | FileKind):
        return value
    if not isinstance(value, str) or not value.strip():
        return value
    return str((file.parent / expand_home(value)).absolute())


def _read_content(
    setting: SettingDefinition, other: SettingDefinition, path: Path, warn: Warn
) -> object:
    """Return the value of a setting from a file that holds nothing else.

    Args:
        setting: whose value it is.
        other: the setting that named the file.
        path: of the file.
        warn: called when others can read it.
    """
    try:
        content, mode = _read_file(path, CONTENT_BYTES_MAX + 1)
    except OSError as error:
        raise OperatorError(
            f"The file {path} that {other.name} names cannot be read: {error.strerror}; name one "
            "that this user can read."
        ) from error
    exposure = judge_rights(mode)
    if exposure is Exposure.REFUSED:
        raise _make_exposed_error(f"file of {other.name}", path, mode)
    try:
        value = setting.kind.parse(_decode_line(content))
    except ValueError:
        raise OperatorError(
            f"The file {path} that {other.name} names is to hold one line, "
            f"{setting.kind.expected}; what is there is not shown, since it may be a secret."
        ) from None
    if exposure is Exposure.READABLE:
        warn(_make_readable_warning(f"file of {other.name}", path, mode))
    return value


def _decode_line(content: bytes) -> str:
    """Return the only line of a text, without blanks around it.

    Raises:
        ValueError: there are more lines or none, or it is too long or not UTF-8.
    """
    lines = content.decode("utf-8").strip().splitlines()
    if len(lines) != 1 or len(content) > CONTENT_BYTES_MAX:
        raise ValueError(len(lines))
    return lines[0]


def _read_file(path: Path, limit: int = -1) -> tuple[bytes, int]:
    """Return the bytes of a file, at most so many, and its permission bits at that moment.

    What is no file, such as /dev/null or a pipe of the shell, counts as private.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno()).st_mode
        return file.read(limit), stat.S_IMODE(found) if stat.S_ISREG(found) else 0o600


def _make_exposed_error(what: str, path: Path, mode: int) -> OperatorError:
    return OperatorError(
        f"The {what} {path} {describe_exposure(mode)}, who can so have treadle do what they want; "
        f"run `chmod go-w {path}`."
    )


def _make_readable_warning(what: str, path: Path, mode: int) -> OperatorWarning:
    return OperatorWarning(
        f"The {what} {path} {describe_exposure(mode)}.",
        "A password or key in it is theirs, too.",
        f"Run `chmod go-rwx {path}`.",
    )
