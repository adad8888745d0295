"""Settings: read once, checked once, and a value after that.

Each field of `Config` is one setting and says everything about it: name, type, default, bounds and
help. From these fields come the flags, the environment variables, the keys of the file and the
reference page, so that none of them can know a setting the others do not.

A setting is taken from the first place that has it:

1. a flag, `--load-rows 5000`
2. the environment, `TREADLE_LOAD_ROWS=5000` (a variable that is set but empty counts as not set)
3. a file in TOML, `load_rows = 5000`: the one named by `--config` or `TREADLE_CONFIG`, otherwise
   `treadle.toml` in the data directory, if it is there
4. the default
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import quote

from treadle.errors import OperatorFault

FILE_NAME = "treadle.toml"
PREFIX = "TREADLE_"


# Kinds of value ----------------------------------------------------------------------------------


class Kind(Protocol):
    """What values a setting takes."""

    @property
    def expected(self) -> str:
        """What a value is to be, as the end of a sentence: "a whole number from 1 to 64"."""

    def parse(self, text: str) -> object:
        """The value of a flag or a variable; ValueError when it is none."""

    def check(self, value: object) -> object:
        """The value of the file or of a caller, made exact; ValueError when it is none."""

    def found(self, value: object) -> str:
        """A wrong value, as it may be shown."""


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number or, with `whole` false, any finite one."""

    least: int
    most: int
    whole: bool = True
    unit: str = ""

    @property
    def expected(self) -> str:
        """For example "a whole number of seconds from 1 to 60"."""
        noun = "a whole number" if self.whole else "a number"
        of = f" of {self.unit}" if self.unit else ""
        return f"{noun}{of} from {self.least} to {self.most}"

    def parse(self, text: str) -> object:
        """Python's own notation, so `100_000` is a number."""
        return self.check(int(text) if self.whole else float(text))

    def check(self, value: object) -> object:
        """Refuses true and false, which Python counts among the integers."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(value)  # noqa: TRY004 - one error for all that is no value
        if self.whole and not isinstance(value, int):
            raise ValueError(value)
        if not math.isfinite(value) or not self.least <= value <= self.most:
            raise ValueError(value)
        return value if self.whole else float(value)

    def found(self, value: object) -> str:
        """The value itself."""
        return repr(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """For example "text or json"."""
        return " or ".join([", ".join(self.words[:-1]), self.words[-1]])

    def parse(self, text: str) -> object:
        """Exactly one of the words."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Exactly one of the words."""
        if value not in self.words:
            raise ValueError(value)
        return value

    def found(self, value: object) -> str:
        """The value itself, with the nearest word."""
        return repr(value) + _did_you_mean(str(value), self.words, "")


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not blank and, with a `pattern`, is all of it."""

    expected: str
    hidden: bool = False
    pattern: str = ".*"

    def parse(self, text: str) -> object:
        """The text as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """The text as it is."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(value)
        if not re.fullmatch(self.pattern, value, re.DOTALL):
            raise ValueError(value)
        return value

    def found(self, value: object) -> str:
        """The value itself, unless it is a secret."""
        return "what is there (it is a secret and not shown)" if self.hidden else repr(value)


@dataclass(frozen=True, slots=True)
class Folder:
    """A path of the file system."""

    expected: str = "the path of a folder, without ? and #"

    def parse(self, text: str) -> object:
        """`~` is the home folder."""
        return self.check(Path(text).expanduser() if text.strip() else text)

    def check(self, value: object) -> object:
        """The path made absolute, so that it names the same folder for every process.

        The folder's path becomes part of database URLs, where `?` and `#` end a path.
        """
        if isinstance(value, str) and value.strip():
            value = Path(value).expanduser()
        if not isinstance(value, Path) or set("?#\0") & set(str(value)):
            raise ValueError(value)
        return value.absolute()

    def found(self, value: object) -> str:
        """The path as it was given."""
        return repr(str(value))


@dataclass(frozen=True, slots=True)
class Url:
    """A URL, perhaps with a password in it; of any scheme when `schemes` is empty."""

    expected: str
    schemes: tuple[str, ...] = ()

    def parse(self, text: str) -> object:
        """The URL as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Only that it begins as a URL does; what follows is for whoever opens it."""
        begin = re.match(r"([a-z][a-z0-9+.-]*)://.", value) if isinstance(value, str) else None
        if begin is None or (self.schemes and begin[1] not in self.schemes):
            raise ValueError(value)
        return value

    def found(self, value: object) -> str:
        """The URL without its password."""
        text = str(value)
        if "@" in text or "=" in text:
            return "what is there (it may hold a password and is not shown)"
        return repr(text)


def without_password(url: str) -> str:
    """The URL with every password in it replaced by `***`; safe to log.

    Passwords may hold any character here, also those that should have been escaped: better to hide
    a little more than the password than a little less.
    """
    shown = re.sub(r"^([^:]*://[^:@/]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(
        r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", r"\1***", shown, flags=re.IGNORECASE
    )


# Settings ----------------------------------------------------------------------------------------


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
    """

    name: str
    kind: Kind
    default: object
    help: str
    prefix: str
    shown_default: str
    flag: bool
    file: bool

    @property
    def option(self) -> str:
        """Its flag, `--load-rows`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable, `TREADLE_LOAD_ROWS`."""
        return self.prefix + self.name.upper()

    def fault(self, place: str, value: object) -> OperatorFault:
        """What to say when `value`, found in `place`, is none for this setting."""
        text = f"{place} is to be {self.kind.expected}, not {self.kind.found(value)}"
        return OperatorFault(text if text.endswith("?") else text + ".")


def _setting(
    default: object,
    kind: Kind,
    help_: str,
    *,
    shown: str | None = None,
    flag: bool = True,
    file: bool = True,
) -> Any:
    """A field of `Config` with what `Setting` needs to know."""
    about = {"kind": kind, "help": help_, "shown": shown, "flag": flag, "file": file}
    return field(default=default, metadata=about)


def _settings(cls: type["_Settings"]) -> tuple[Setting, ...]:
    return tuple(_from_field(f, cls.prefix) for f in fields(cls))


def _from_field(f: "Field[Any]", prefix: str) -> Setting:
    about = f.metadata
    assert f.default is not MISSING  # noqa: S101 - every field is made by _setting
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
    )


def _as_text(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


@dataclass(frozen=True, repr=False)
class _Settings:
    """Fields made by `_setting`, checked when an object is made."""

    prefix: ClassVar[str] = PREFIX

    def __post_init__(self) -> None:
        for setting in _settings(type(self)):
            value = getattr(self, setting.name)
            if value is None and setting.default is None:
                continue
            try:
                exact = setting.kind.check(value)
            except ValueError:
                raise setting.fault(setting.name, value) from None
            object.__setattr__(self, setting.name, exact)

    def __repr__(self) -> str:
        shown = []
        for setting in _settings(type(self)):
            value = getattr(self, setting.name)
            if value is not None and isinstance(setting.kind, Text) and setting.kind.hidden:
                value = "***"
            elif isinstance(value, str) and isinstance(setting.kind, Url):
                value = without_password(value)
            elif isinstance(value, Path):
                value = str(value)
            shown.append(f"{setting.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Config(_Settings):
    """How treadle is to run. Made with `Config.read`, or directly in a test.

    A value that is none for its setting raises OperatorFault, whichever way the object is made.
    """

    data: Path = _setting(  # noqa: RUF009 - a field, one for each class
        Path("treadle-data"),
        Folder(),
        "folder for everything treadle keeps",
        shown="./treadle-data",
    )
    host: str = _setting(
        "127.0.0.1",
        Text("a host name or an address"),
        "address to listen at; 0.0.0.0 listens to the whole network",
    )
    port: int = _setting(8484, Number(0, 65535), "port to listen at; 0 takes any that is free")
    destination: str | None = _setting(
        None,
        Url("a URL such as postgresql://user:password@host/database"),
        "database that rows are loaded into",
        shown="warehouse.duckdb in the data folder",
    )
    workers: int = _setting(1, Number(1, 64), "processes that answer requests")
    load_age_seconds: float = _setting(
        1.0,
        Number(0, 86_400, whole=False, unit="seconds"),
        "load a table when its oldest waiting record is this old",
    )
    load_rows: int = _setting(
        100_000,
        Number(1, 10_000_000, unit="records"),
        "load a table when this many records wait, and take no more at once",
    )
    load_bytes: int = _setting(
        50_000_000,
        Number(1_000, 2_000_000_000, unit="bytes"),
        "load a table when this many bytes wait, and take no more at once",
    )
    retention_days: float = _setting(
        7.0,
        Number(0, 36_500, whole=False, unit="days"),
        "keep accepted requests this long after they were loaded",
    )
    surface: str = _setting(
        "seed",
        Choice(("seed", "modern")),
        "what the control API shows: seed repeats a source's tokens, modern shows each once",
    )
    token_list: str = _setting(
        "objects",
        Choice(("objects", "integers")),
        "what the control API lists tokens as: objects with a creation time, or bare ids",
    )
    secret_key: str | None = _setting(
        None,
        Text(
            "64 hexadecimal digits, as `openssl rand -hex 32` prints them",
            hidden=True,
            pattern=r"\s*[0-9a-fA-F]{64}\s*",
        ),
        "key that secrets are encrypted with, in place of the key file",
        shown="the key file in the data folder",
        flag=False,
    )
    log_level: str = _setting(
        "info", Choice(("debug", "info", "warning", "error")), "least level that is logged"
    )
    log_format: str = _setting("text", Choice(("text", "json")), "how a log line is written")

    @classmethod
    def read(
        cls,
        flags: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Find every setting in the first place that has it, and check all of them.

        Args:
            flags: setting name -> text given with its flag, and `config` -> the file's path; a
                flag that was not given is absent or None.
            environ: the environment; that of this process when None.

        Raises:
            OperatorFault: a name that is none, a value that is none, or a file that cannot be
                read. The text says where.
        """
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = _variables(os.environ if environ is None else environ)
        values = _from_file(SETTINGS, given, variables)
        values |= _from_text(SETTINGS, given, variables)
        return cls(**values)

    @property
    def destination_url(self) -> str:
        """Where rows go; may hold a password."""
        return self.destination or "duckdb://" + quote(str(self.warehouse_path))

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return f"sqlite:///{self.store_path}"

    @property
    def store_path(self) -> Path:
        """File of the store."""
        return self.data / "store.sqlite"

    @property
    def log_path(self) -> Path:
        """File of the log."""
        return self.data / "log.sqlite"

    @property
    def key_path(self) -> Path:
        """File with the key that secrets are encrypted with; not used with `secret_key`."""
        return self.data / "secret.key"

    @property
    def warehouse_path(self) -> Path:
        """File that rows go to when no destination is set."""
        return self.data / "warehouse.duckdb"

    @property
    def lock_path(self) -> Path:
        """File a running server holds locked, so that no second one uses the same folder."""
        return self.data / "treadle.lock"

    @property
    def push_path(self) -> Path:
        """Folder where `treadle push` remembers how far it came."""
        return self.data / "push"

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{here}]:{self.port}" if ":" in here else f"http://{here}:{self.port}"

    def make_data(self) -> None:
        """Make the data folder where it is missing, readable by its owner only.

        Raises:
            OperatorFault: it cannot be made, or cannot be written to.
        """
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OperatorFault(
                f"The data folder {self.data} cannot be made: {error.strerror}; "
                "name another one with --data."
            ) from error
        if not os.access(self.data, os.W_OK | os.X_OK):
            raise OperatorFault(
                f"The data folder {self.data} cannot be written to by this user; "
                "change its owner, or name another one with --data."
            )


@dataclass(frozen=True, repr=False)
class PushConfig(_Settings):
    """How `treadle push` is to send: flags and environment only."""

    prefix: ClassVar[str] = PREFIX + "PUSH_"

    source: str | None = _setting(
        None,
        Text("the name or the id of a source"),
        "source to push to",
        shown="the only active one",
    )
    url: str | None = _setting(
        None,
        Url("a URL such as http://127.0.0.1:8484", ("http", "https")),
        "server to push to",
        shown="the one --host and --port name",
    )
    token: str | None = _setting(
        None,
        Text("an Import API access token", hidden=True, pattern=r"[!-~]+"),
        "Import API access token",
        shown="the source's",
    )
    client_id: int | None = _setting(
        None,
        Number(1, 2**63 - 1),
        "client the token belongs to",
        shown="the source's account",
    )
    batch_records: int = _setting(
        5_000,
        Number(1, 20_000, unit="records"),  # import-api.md 5: 20,000 records a request
        "records a request",
    )
    connections: int = _setting(2, Number(1, 64), "requests under way at the same time")
    retry_seconds: float = _setting(
        600.0,
        Number(0, 31_536_000, whole=False, unit="seconds"),
        "go on trying this long while the server cannot be reached or is busy",
    )

    @classmethod
    def read(
        cls,
        flags: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """As `Config.read`, without a file."""
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = _variables(os.environ if environ is None else environ)
        return cls(**_from_text(PUSH_SETTINGS, given, variables))


SETTINGS = _settings(Config)
PUSH_SETTINGS = _settings(PushConfig)
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


# Reading -----------------------------------------------------------------------------------------


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are treadle's and not empty; OperatorFault for one that sets nothing."""
    known = [s.variable for s in (FILE, *SETTINGS, *PUSH_SETTINGS)]
    found = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    for name in sorted(found.keys() - set(known)):
        # Compared without the prefix, which would make all of them alike.
        names = [variable.removeprefix(PREFIX) for variable in known]
        near = _did_you_mean(name.removeprefix(PREFIX), names).replace("mean ", f"mean {PREFIX}")
        raise OperatorFault(f"The environment variable {name} sets nothing{near}")
    return {name: text for name, text in found.items() if text}


def _from_text(
    settings: Iterable[Setting], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Setting name -> value, for settings that a flag or a variable has."""
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.name in flags:
            place, text = setting.option, flags[setting.name]
        elif setting.variable in variables:
            place = f"The environment variable {setting.variable}"
            text = variables[setting.variable]
        else:
            continue
        try:
            values[setting.name] = setting.kind.parse(text)
        except ValueError:
            raise setting.fault(place, text) from None
    return values


def _from_file(
    settings: tuple[Setting, ...], flags: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Setting name -> value, for settings that the file has."""
    named = flags.get(FILE.name) or variables.get(FILE.variable)
    if named is not None:
        path = Path(named).expanduser()
    else:
        folder = _from_text(settings, flags, variables).get("data", Config.data)
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
    known = {setting.name: setting for setting in settings if setting.file}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise OperatorFault(
                f"The settings file {path} has the key {key!r}, "
                f"which sets nothing{_did_you_mean(key, known)}"
            )
        if key == "data" and named is None:
            raise OperatorFault(
                f"The settings file {path} was found in the data folder, so it cannot set 'data'; "
                "set it with --data or TREADLE_DATA, or name the file with --config."
            )
        setting = known[key]
        try:
            values[key] = setting.kind.check(value)
        except ValueError:
            raise setting.fault(f"{key!r} in {path}", value) from None
        if key == "data":  # a relative folder is relative to the file that names it
            values[key] = (path.parent / Path(str(value)).expanduser()).absolute()
    return values


def _did_you_mean(word: str, known: Iterable[str], otherwise: str = ".") -> str:
    """The end of a sentence: names the nearest known word where one is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else otherwise
