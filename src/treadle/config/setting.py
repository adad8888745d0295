"""What a setting is, and objects whose fields are settings."""

from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from treadle.config.kinds import Kind, Text, Url, without_password
from treadle.errors import OperatorFault

PREFIX = "TREADLE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything about one setting.

    Attributes:
        name: as in the file, `load_rows`.
        prefix: of its environment variable.
        help: one line, without a full stop.
        shown_default: how the default reads in the help, where it is not a plain value.
        flag: whether there is a flag. A secret has none: other users of a machine can read flags.
        file: whether the file may have it.
        former_name: under which it is found as well, so that what was set with an earlier release
            goes on working; None for none.
    """

    name: str
    kind: Kind
    default: object
    help: str
    prefix: str
    shown_default: str
    flag: bool
    file: bool
    former_name: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it goes by, the present one first."""
        return (self.name,) if self.former_name is None else (self.name, self.former_name)

    @property
    def option(self) -> str:
        """Its flag, `--load-rows`."""
        return option_of(self.name)

    @property
    def variable(self) -> str:
        """Its environment variable, `TREADLE_LOAD_ROWS`."""
        return self.variables[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables of all its names."""
        return tuple(self.prefix + name.upper() for name in self.names)

    def fault(self, place: str, value: object) -> OperatorFault:
        """What to say when `value`, found in `place`, is none for this setting."""
        text = f"{place} is to be {self.kind.expected}, not {self.kind.found(value)}"
        return OperatorFault(text if text.endswith("?") else text + ".")


def option_of(name: str) -> str:
    """The flag of a name, `--load-rows`."""
    return "--" + name.replace("_", "-")


def setting(
    default: object,
    kind: Kind,
    help_: str,
    *,
    shown: str | None = None,
    flag: bool = True,
    file: bool = True,
    former_name: str | None = None,
) -> Any:
    """A field of `Config` with what `Setting` needs to know."""
    about = {"kind": kind, "help": help_, "shown": shown, "flag": flag, "file": file}
    return field(default=default, metadata=about | {"former_name": former_name})


def settings_of(cls: type["Settings"]) -> tuple[Setting, ...]:
    """The settings of a class, in the order of its fields."""
    return tuple(_from_field(f, cls.prefix) for f in fields(cls))


def _from_field(f: "Field[Any]", prefix: str) -> Setting:
    about = f.metadata
    assert f.default is not MISSING  # noqa: S101 - every field is made by `setting`
    shown = about["shown"]
    return Setting(
        name=f.name,
        kind=about["kind"],
        default=f.default,
        help=about["help"],
        prefix=prefix,
        shown_default=_as_text(f.default) if shown is None else shown,
        flag=about["flag"],
        file=about["file"],
        former_name=about["former_name"],
    )


def _as_text(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


@dataclass(frozen=True, repr=False)
class Settings:
    """Fields made by `setting`, checked when an object is made."""

    prefix: ClassVar[str] = PREFIX

    def __post_init__(self) -> None:
        for one in settings_of(type(self)):
            value = getattr(self, one.name)
            if value is None and one.default is None:
                continue
            try:
                exact = one.kind.check(value)
            except ValueError:
                raise one.fault(one.name, value) from None
            object.__setattr__(self, one.name, exact)

    def __repr__(self) -> str:
        shown = []
        for one in settings_of(type(self)):
            value = getattr(self, one.name)
            if value is not None and isinstance(one.kind, Text) and one.kind.hidden:
                value = "***"
            elif isinstance(value, str) and isinstance(one.kind, Url):
                value = without_password(value)
            elif isinstance(value, Path):
                value = str(value)
            shown.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
