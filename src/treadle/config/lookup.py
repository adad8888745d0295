"""Reads the values of settings from flags, the environment and the settings file."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from treadle.config.kinds import TextKind, suggest_nearest
from treadle.config.setting import PREFIX, SettingDefinition, option_of
from treadle.errors import OperatorError

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


def select_variables(
    environ: Mapping[str, str], settings: Iterable[SettingDefinition]
) -> dict[str, str]:
    """Return treadle's environment variables that are not empty.

    Raises:
        OperatorError: one of them belongs to no setting.
    """
    known = [variable for setting in settings for variable in setting.variables]
    found = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    for name in sorted(found.keys() - set(known)):
        # Compared without the prefix, with which all of them are near to each other.
        names = [variable.removeprefix(PREFIX) for variable in known]
        near = suggest_nearest(name.removeprefix(PREFIX), names).replace("mean ", f"mean {PREFIX}")
        raise OperatorError(f"The environment variable {name} sets nothing{near}")
    return {name: text for name, text in found.items() if text}


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


def read_settings_file(
    settings: tuple[SettingDefinition, ...], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return setting name -> value for the settings that the file sets.

    Raises:
        OperatorError: the file cannot be read, or one of its keys or values is not valid.
    """
    named = flags.get(FILE_SETTING.name) or variables.get(FILE_SETTING.variable)
    if named is not None:
        path = Path(named).expanduser()
    else:
        data = next(setting for setting in settings if setting.name == "data")
        folder = parse_texts([data], flags, variables).get("data", data.default)
        path = Path(folder) / FILE_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return {}
        raise OperatorError(f"There is no settings file {path}.") from None
    except OSError as error:
        raise OperatorError(f"Cannot read the settings file {path}: {error.strerror}.") from error
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
            values[setting.name] = setting.kind.check(value)
        except ValueError:
            raise setting.make_error(f"{key!r} in {path}", value) from None
        if key == "data":  # a relative folder is relative to the file that names it
            values[key] = (path.parent / Path(str(value)).expanduser()).absolute()
    return values
