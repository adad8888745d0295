"""Where the values of settings are read from: flags, the environment, a file."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from treadle.config.kinds import Text, did_you_mean
from treadle.config.setting import PREFIX, Setting, option_of
from treadle.errors import OperatorFault

FILE_NAME = "treadle.toml"

FILE = Setting(
    name="config",
    kind=Text("the path of a file"),
    default=None,
    help="file with settings",
    prefix=PREFIX,
    shown_default=f"{FILE_NAME} in the data folder",
    flag=True,
    file=False,
)
"""The setting that says which file the others are read from."""


def variables_of(environ: Mapping[str, str], settings: Iterable[Setting]) -> dict[str, str]:
    """The variables that are treadle's and not empty; OperatorFault for one that sets nothing."""
    known = [variable for setting in settings for variable in setting.variables]
    found = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    for name in sorted(found.keys() - set(known)):
        # Compared without the prefix, which would make all of them alike.
        names = [variable.removeprefix(PREFIX) for variable in known]
        near = did_you_mean(name.removeprefix(PREFIX), names).replace("mean ", f"mean {PREFIX}")
        raise OperatorFault(f"The environment variable {name} sets nothing{near}")
    return {name: text for name, text in found.items() if text}


def from_text(
    settings: Iterable[Setting], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Setting name -> value, for settings that a flag or a variable has."""
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
            raise setting.fault(place, text) from None
    return values


def from_file(
    settings: tuple[Setting, ...], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Setting name -> value, for settings that the file has."""
    named = flags.get(FILE.name) or variables.get(FILE.variable)
    if named is not None:
        path = Path(named).expanduser()
    else:
        data = next(setting for setting in settings if setting.name == "data")
        folder = from_text([data], flags, variables).get("data", data.default)
        path = Path(folder) / FILE_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return {}
        raise OperatorFault(f"There is no settings file {path}.") from None
    except OSError as error:
        raise OperatorFault(f"Cannot read the settings file {path}: {error.strerror}.") from error
    except ValueError as error:
        # Not the parser's cause: its text may quote a line that holds a secret.
        raise OperatorFault(f"The settings file {path} is not TOML: {error}.") from None
    known = {name: setting for setting in settings if setting.file for name in setting.names}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise OperatorFault(
                f"The settings file {path} has the key {key!r}, "
                f"which sets nothing{did_you_mean(key, known)}"
            )
        if key == "data" and named is None:
            raise OperatorFault(
                f"The settings file {path} was found in the data folder, so it cannot set 'data'; "
                "set it with --data or TREADLE_DATA, or name the file with --config."
            )
        setting = known[key]
        if setting.name in values:
            raise OperatorFault(
                f"The settings file {path} sets {' and '.join(map(repr, setting.names))}, which "
                "are one setting; keep one of them."
            )
        try:
            values[setting.name] = setting.kind.check(value)
        except ValueError:
            raise setting.fault(f"{key!r} in {path}", value) from None
        if key == "data":  # a relative folder is relative to the file that names it
            values[key] = (path.parent / Path(str(value)).expanduser()).absolute()
    return values
