"""The definition of a setting, and classes whose fields are settings."""

from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from treadle.config.kinds import TextKind, UrlKind, ValueKind, mask_password
from treadle.errors import OperatorError

PREFIX = "TREADLE_"


@dataclass(frozen=True, slots=True)
class SettingDefinition:
    """One setting: its name, its kind, its default and the places that may set it.

    Attributes:
        name: its key in the settings file, `load_rows`.
        prefix: the beginning of its environment variable.
        help: one line, without a full stop.
        shown_default: the default as the help shows it.
        flag: it has a flag. A secret has none: other users of a machine can read flags.
        file: the settings file may set it.
        former_name: an earlier name, under which the setting still works; None for none.
        content_of: the setting whose value is in the file that this one names; None for none.
    """

    name: str
    kind: ValueKind
    default: object
    help: str
    prefix: str
    shown_default: str
    flag: bool
    file: bool
    former_name: str | None = None
    content_of: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the former name, if there is one."""
        return (self.name,) if self.former_name is None else (self.name, self.former_name)

    @property
    def option(self) -> str:
        """The flag, `--load-rows`."""
        return option_of(self.name)

    @property
    def variable(self) -> str:
        """The environment variable, `TREADLE_LOAD_ROWS`."""
        return self.variables[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables of all names."""
        return tuple(self.prefix + name.upper() for name in self.names)

    def holds_secret(self, value: object) -> bool:
        """Return whether a value, or its text, is a secret or a URL with a password in it."""
        if isinstance(self.kind, TextKind):
            return self.kind.hidden and bool(value)
        return (
            isinstance(self.kind, UrlKind)
            and isinstance(value, str)
            and mask_password(value) != value
        )

    def make_error(self, place: str, value: object) -> OperatorError:
        """Make the error for a value that is not valid; `place` says where it was found."""
        text = f"{place} is to be {self.kind.expected}, not {self.kind.show(value)}"
        return OperatorError(text if text.endswith("?") else text + ".")


def option_of(name: str) -> str:
    """Return the flag of a name, `--load-rows`."""
    return "--" + name.replace("_", "-")


def define_setting(
    default: object,
    kind: ValueKind,
    help_: str,
    *,
    shown: str | None = None,
    flag: bool = True,
    file: bool = True,
    former_name: str | None = None,
    content_of: str | None = None,
) -> Any:
    """Make a field of `Config` that carries what `SettingDefinition` needs."""
    about = {"kind": kind, "help": help_, "shown": shown, "flag": flag, "file": file}
    further = {"former_name": former_name, "content_of": content_of}
    return field(default=default, metadata=about | further)


def list_settings(cls: type["CheckedSettings"]) -> tuple[SettingDefinition, ...]:
    """Return the settings of a class, in the order of its fields."""
    return tuple(_make_definition(f, cls.prefix) for f in fields(cls))


def _make_definition(f: "Field[Any]", prefix: str) -> SettingDefinition:
    about = f.metadata
    assert f.default is not MISSING  # noqa: S101 - every field is made by `define_setting`
    shown = about["shown"]
    return SettingDefinition(
        name=f.name,
        kind=about["kind"],
        default=f.default,
        help=about["help"],
        prefix=prefix,
        shown_default=_format_default(f.default) if shown is None else shown,
        flag=about["flag"],
        file=about["file"],
        former_name=about["former_name"],
        content_of=about["content_of"],
    )


def _format_default(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


@dataclass(frozen=True, repr=False)
class CheckedSettings:
    """Base class of settings: fields made by `define_setting`, checked when an object is made."""

    prefix: ClassVar[str] = PREFIX

    def __post_init__(self) -> None:
        for one in list_settings(type(self)):
            value = getattr(self, one.name)
            if value is None and one.default is None:
                continue
            try:
                exact = one.kind.check(value)
            except ValueError:
                raise one.make_error(one.name, value) from None
            object.__setattr__(self, one.name, exact)

    def __repr__(self) -> str:
        shown = []
        for one in list_settings(type(self)):
            value = getattr(self, one.name)
            if value is not None and isinstance(one.kind, TextKind) and one.kind.hidden:
                value = "***"
            elif isinstance(value, str) and isinstance(one.kind, UrlKind):
                value = mask_password(value)
            elif isinstance(value, Path):
                value = str(value)
            shown.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
