"""The settings of treadle. They are read once, checked once, and are a value after that.

Each field of `Config` is one setting and says everything about it: name, type, default, bounds and
help. The flags, the environment variables, the keys of the settings file and the reference page are
made from these fields, so that each of them has every setting.

The value of a setting comes from the first of these places that has one:

1. a flag, `--load-rows 5000`
2. the environment, `TREADLE_LOAD_ROWS=5000` (a variable that is set but empty counts as not set)
3. a file in TOML, `load_rows = 5000`: the one named by `--config` or `TREADLE_CONFIG`, otherwise
   `treadle.toml` in the data folder, if it exists
4. the default
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import quote

from treadle.config.kinds import (
    ChoiceKind,
    FolderKind,
    NumberKind,
    TextKind,
    UrlKind,
    mask_password,
)
from treadle.config.lookup import (
    FILE_NAME,
    FILE_SETTING,
    parse_texts,
    read_settings_file,
    select_variables,
)
from treadle.config.setting import (
    PREFIX,
    CheckedSettings,
    SettingDefinition,
    define_setting,
    list_settings,
)
from treadle.errors import OperatorError

__all__ = [
    "FILE_NAME",
    "FILE_SETTING",
    "PUSH_SETTINGS",
    "SETTINGS",
    "ChoiceKind",
    "Config",
    "FolderKind",
    "NumberKind",
    "PushConfig",
    "SettingDefinition",
    "TextKind",
    "UrlKind",
    "mask_password",
]


@dataclass(frozen=True, repr=False)
class Config(CheckedSettings):
    """The settings of one run of treadle: of the server, or of a command beside it.

    `Config.read` makes it; a test may make it directly. A value that is not valid for its setting
    raises OperatorError either way.
    """

    data: Path = define_setting(  # noqa: RUF009 - a field, one for each class
        Path("treadle-data"),
        FolderKind(),
        "folder for everything treadle keeps",
        shown="./treadle-data",
    )
    host: str = define_setting(
        "127.0.0.1",
        TextKind("a host name or an address"),
        "address to listen at; 0.0.0.0 listens to the whole network",
    )
    port: int = define_setting(
        8484, NumberKind(0, 65535), "port to listen at; 0 takes any that is free"
    )
    destination: str | None = define_setting(
        None,
        UrlKind("a URL such as postgresql://user:password@host/database"),
        "database that rows are loaded into",
        shown="warehouse.duckdb in the data folder",
    )
    allowed_hosts: str | None = define_setting(
        None,
        TextKind(
            "host names with commas between them, such as treadle.example.com",
            pattern=r"[A-Za-z0-9_.:\[\]-]+( *, *[A-Za-z0-9_.:\[\]-]+)*",
        ),
        "further names under which /docs and /metrics are served; others are refused, so that no "
        "page of another server can be led here",
        shown="the listen address and localhost",
    )
    docs_page: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off serves no page about the API at /docs; /openapi.json stays",
    )
    workers: int = define_setting(1, NumberKind(1, 64), "processes that answer requests")
    load_age_seconds: float = define_setting(
        1.0,
        NumberKind(0, 86_400, whole=False, unit="seconds"),
        "load a table when its oldest waiting record is this old; earlier when an eighth of "
        "load_rows or load_bytes waits and the table is being loaded, or was not loaded for this "
        "long; for the latter, small tables are counted together",
    )
    load_rows: int = define_setting(
        100_000,
        NumberKind(1, 10_000_000, unit="records"),
        "load a table when this many records wait, and take no more at once",
    )
    load_bytes: int = define_setting(
        50_000_000,
        NumberKind(1_000, 2_000_000_000, unit="bytes"),
        "load a table when this many bytes wait; a load reads at most this much, and never more "
        "than 16 MB: the rest follows in further loads",
    )
    retention_days: float = define_setting(
        7.0,
        NumberKind(0, 36_500, whole=False, unit="days"),
        "keep accepted requests this long after they were loaded",
    )
    audit_days: float = define_setting(
        365.0,
        NumberKind(1, 36_500, whole=False, unit="days"),
        "keep the audit trail, which tells who changed what, this long",
    )
    log_bytes: int = define_setting(
        0,
        NumberKind(0, 10**15, unit="bytes"),
        "answer 503 while the log has this many bytes, until some are loaded and removed; "
        "0 for no limit",
    )
    disk_reserve_bytes: int = define_setting(
        100_000_000,
        NumberKind(0, 10**15, unit="bytes"),
        "answer 503 while the disk of the data folder has less space than this, so that loading "
        "can go on",
    )
    connect_api_era: str = define_setting(
        "seed",
        ChoiceKind(("seed", "modern")),
        "what the Connect API shows: seed repeats a source's tokens, modern shows each once; "
        "formerly named surface",
        former_name="surface",
    )
    fast_path: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off reads every request anew, in place of a shorter way for requests like those before "
        "them on the same connection; the answers are the same",
    )
    token_list: str = define_setting(
        "objects",
        ChoiceKind(("objects", "integers")),
        "how the Connect API lists tokens: as objects with a creation time, or as bare ids",
    )
    secret_key: str | None = define_setting(
        None,
        TextKind(
            "64 hexadecimal digits, as `openssl rand -hex 32` prints them",
            hidden=True,
            pattern=r"\s*[0-9a-fA-F]{64}\s*",
        ),
        "key that secrets are encrypted with, in place of the key file",
        shown="the key file in the data folder",
        flag=False,
    )
    metrics_token: str | None = define_setting(
        None,
        TextKind(
            "a token of 16 to 512 printable characters", hidden=True, pattern=r"[!-~]{16,512}"
        ),
        "bearer token that is needed to read /metrics; without one, only this machine may read it",
        shown="none",
        flag=False,
    )
    log_level: str = define_setting(
        "info", ChoiceKind(("debug", "info", "warning", "error")), "lowest level that is logged"
    )
    log_format: str = define_setting(
        "text", ChoiceKind(("text", "json")), "how a log line is written"
    )

    @classmethod
    def read(
        cls,
        flags: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Take every setting from the first place that has it, and check all of them.

        Args:
            flags: setting name -> text given with its flag, and `config` -> the file's path; a
                flag that was not given is absent or None.
            environ: the environment; that of this process when None.

        Raises:
            OperatorError: an unknown name, a value that is not valid, or a file that cannot be
                read. The text says where.
        """
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = select_variables(
            os.environ if environ is None else environ, (FILE_SETTING, *SETTINGS, *PUSH_SETTINGS)
        )
        values = read_settings_file(SETTINGS, given, variables)
        values |= parse_texts(SETTINGS, given, variables)
        return cls(**values)

    @property
    def destination_url(self) -> str:
        """The URL that rows are loaded into. It may contain a password."""
        return self.destination or "duckdb://" + quote(str(self.warehouse_path))

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store."""
        return f"sqlite:///{self.store_path}"

    def has_store(self) -> bool:
        """Return whether a store was made at `store_url`."""
        return self.store_path.exists()

    @property
    def store_path(self) -> Path:
        """The file of the store."""
        return self.data / "store.sqlite"

    @property
    def log_path(self) -> Path:
        """The file of the log."""
        return self.data / "log.sqlite"

    @property
    def key_path(self) -> Path:
        """The file with the key that secrets are encrypted with. Not used with `secret_key`."""
        return self.data / "secret.key"

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file that rows are loaded into when no destination is set."""
        return self.data / "warehouse.duckdb"

    @property
    def lock_path(self) -> Path:
        """The file that a running server keeps locked, so that no second one uses the folder."""
        return self.data / "treadle.lock"

    @property
    def counters_path(self) -> Path:
        """The folder with the counters of all processes."""
        return self.data / "counters"

    @property
    def turns_path(self) -> Path:
        """The folder by which the loader and dry runs take turns at a destination."""
        return self.data / "turns"

    @property
    def push_path(self) -> Path:
        """The folder where `treadle push` remembers its progress."""
        return self.data / "push"

    @property
    def url(self) -> str:
        """The URL at which a client on this machine reaches the server."""
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{here}]:{self.port}" if ":" in here else f"http://{here}:{self.port}"

    def make_data_folder(self) -> None:
        """Make the data folder if it is missing, readable by its owner only.

        Raises:
            OperatorError: it cannot be made, or cannot be written to.
        """
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OperatorError(
                f"The data folder {self.data} cannot be made: {error.strerror}; "
                "name another one with --data."
            ) from error
        if not os.access(self.data, os.W_OK | os.X_OK):
            raise OperatorError(
                f"The data folder {self.data} cannot be written to by this user; "
                "change its owner, or name another one with --data."
            )


@dataclass(frozen=True, repr=False)
class PushConfig(CheckedSettings):
    """The settings of `treadle push`, which come from flags and the environment only."""

    prefix: ClassVar[str] = PREFIX + "PUSH_"

    source: str | None = define_setting(
        None,
        TextKind("the name or the id of a source"),
        "source to push to",
        shown="the only active one",
    )
    url: str | None = define_setting(
        None,
        UrlKind("a URL such as http://127.0.0.1:8484", ("http", "https")),
        "server to push to",
        shown="the one --host and --port name",
    )
    token: str | None = define_setting(
        None,
        TextKind("an Import API access token", hidden=True, pattern=r"[!-~]+"),
        "Import API access token",
        shown="the source's",
    )
    client_id: int | None = define_setting(
        None,
        NumberKind(1, 2**63 - 1),
        "client the token belongs to",
        shown="the source's account",
    )
    batch_records: int = define_setting(
        5_000,
        NumberKind(1, 20_000, unit="records"),  # import-api.md 5: 20,000 records a request
        "records a request",
    )
    connections: int = define_setting(
        2, NumberKind(1, 64), "requests that are sent at the same time"
    )
    retry_seconds: float = define_setting(
        600.0,
        NumberKind(0, 31_536_000, whole=False, unit="seconds"),
        "repeat a request for this long while the server is busy or cannot be reached",
    )

    @classmethod
    def read(
        cls,
        flags: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the settings as `Config.read` does, without a file."""
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = select_variables(
            os.environ if environ is None else environ, (FILE_SETTING, *SETTINGS, *PUSH_SETTINGS)
        )
        return cls(**parse_texts(PUSH_SETTINGS, given, variables))


SETTINGS = list_settings(Config)
PUSH_SETTINGS = list_settings(PushConfig)
