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
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self
from urllib.parse import quote, urlsplit

from treadle.config.kinds import (
    ChoiceKind,
    FileKind,
    FolderKind,
    ListenKind,
    MailServerKind,
    NetworksKind,
    NumberKind,
    PublicUrlKind,
    SwitchKind,
    TextKind,
    UrlKind,
    WordsKind,
    find_socket_path,
    is_loopback,
    mask_password,
)
from treadle.config.lookup import (
    FILE_NAME,
    FILE_SETTING,
    OperatorWarning,
    Warn,
    find_origins,
    ignore_warning,
    read_settings,
    select_variables,
)
from treadle.config.roles import ALL, ROLE_WORDS, MemberRole, expand_roles
from treadle.config.setting import (
    PREFIX,
    CheckedSettings,
    SettingDefinition,
    define_setting,
    list_settings,
)
from treadle.errors import OperatorError
from treadle.file_rights import Exposure, describe_exposure, judge_rights

__all__ = [
    "FILE_NAME",
    "FILE_SETTING",
    "PUSH_SETTINGS",
    "SETTINGS",
    "ChoiceKind",
    "Config",
    "FileKind",
    "FolderKind",
    "ListenKind",
    "MailServerKind",
    "NetworksKind",
    "NumberKind",
    "OperatorWarning",
    "PushConfig",
    "SettingDefinition",
    "SwitchKind",
    "TextKind",
    "UrlKind",
    "Warn",
    "WordsKind",
    "format_host",
    "ignore_warning",
    "is_loopback",
    "mask_password",
]

LOAD_AGE_SECONDS: Final = 1.0
"""The age of the oldest waiting record at which a table is loaded, if no setting says so."""

LOADERS_MAX: Final = 16
"""Most processes that load, on one machine."""


DRAIN_SECONDS: Final = 5.0
"""How long a member that stops goes on answering, unless the setting `drain_seconds` says it."""


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
        ListenKind(),
        "address to listen at, or unix: and the path of a socket; 0.0.0.0 listens to the whole "
        "network, which needs tls_cert or insecure_http",
    )
    port: int = define_setting(
        8484, NumberKind(0, 65535), "port to listen at; 0 takes any that is free"
    )
    tls_cert: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file with the certificate to serve HTTPS with, and those that lead to its authority, in "
        "PEM; read again on SIGHUP",
        shown="none: HTTP",
    )
    tls_key: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None, FileKind(), "file with the key of tls_cert, in PEM and not encrypted", shown="none"
    )
    insecure_http: bool = define_setting(
        False,
        SwitchKind(),
        "true allows an address that other machines reach without TLS: tokens and records cross "
        "the network unencrypted",
        shown="false",
    )
    socket_mode: str = define_setting(
        "0660",
        TextKind("the permission bits of a file such as 0660", pattern=r"0?[0-7]{3}"),
        "who may connect to the socket that host names, as permission bits of its file",
    )
    trusted_proxies: tuple[str, ...] = define_setting(
        (),
        NetworksKind(),
        "proxies whose headers X-Forwarded-For, X-Forwarded-Proto and Forwarded are trusted; "
        "unix trusts every connection to the socket",
        shown="none",
    )
    destination: str | None = define_setting(
        None,
        UrlKind("a URL such as postgresql://loader@db.example.com/warehouse"),
        "database that rows are loaded into",
        shown="warehouse.duckdb in the data folder",
    )
    destination_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds the URL of destination, in place of it",
        shown="none",
        content_of="destination",
    )
    store: str | None = define_setting(
        None,
        UrlKind(
            "a URL such as postgresql://treadle@db1.example.com,db2.example.com/treadle",
            ("postgresql", "postgres"),
        ),
        "PostgreSQL database that accounts, tokens and reports are kept in; several hosts are "
        "servers of one database, of which the one that takes writes is used",
        shown="store.sqlite in the data folder",
    )
    store_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds the URL of store, in place of it",
        shown="none",
        content_of="store",
    )
    store_durability: str = define_setting(
        "single",
        ChoiceKind(("replicated", "single", "none")),
        "what the server of store has to do before a change counts: replicated waits for a "
        "synchronous standby, too; single waits for its disk; none is for data that may be lost",
    )
    log: str | None = define_setting(
        None,
        UrlKind(
            "a URL such as postgresql://treadle@db1.example.com,db2.example.com/treadle",
            ("postgresql", "postgres"),
        ),
        "PostgreSQL database for new logs, which treadle init and treadle log add make; afterwards "
        "store knows it",
        shown="log.sqlite in the data folder",
    )
    log_url_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds the URL of log, in place of it",
        shown="none",
        content_of="log",
    )
    log_durability: str = define_setting(
        "replicated",
        ChoiceKind(("replicated", "single", "storage", "none")),
        "what the server of a log on PostgreSQL has to do before records count as accepted: "
        "replicated waits for a synchronous standby, too; single waits for its disk; storage does "
        "so, and the provider keeps copies of the disk; none is for data that may be lost",
    )
    token_stale_seconds: float = define_setting(
        60.0,
        NumberKind(0, 86_400, whole=False, unit="seconds"),
        "take known tokens for this long while store cannot be asked whether they were revoked, "
        "and answer 503 after that; 0 for no limit",
    )
    role: tuple[str, ...] = define_setting(
        (ALL,),
        WordsKind(ROLE_WORDS, ALL),
        "what this member does where several machines share the work: ingest takes records, loader "
        "loads them, control answers the Connect API and the console; any but all needs store and "
        "log on PostgreSQL",
        shown=ALL,
    )
    member: str | None = define_setting(
        None,
        TextKind(
            "a name of 1 to 64 letters, digits and . _ : -",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}",
        ),
        "name of this server among the members of a cluster; no other member may have it",
        shown="made of the machine, the data folder and the start",
    )
    holds: str | None = define_setting(
        None,
        TextKind(
            "URLs of DuckDB files such as duckdb:///var/lib/treadle/rows.duckdb, with commas "
            "between them",
            pattern=r"duckdb://[^, ]+( *, *duckdb://[^, ]+)*",
        ),
        "DuckDB files of this machine that its loader loads into, where several machines share the "
        "work; a file that no loader holds is not loaded",
        shown="none; with the role all, every file",
    )
    drain_seconds: float | None = define_setting(
        None,
        NumberKind(0, 300, whole=False, unit="seconds"),
        "after SIGTERM, answer requests for this long while /v1/ready says 503, so that a load "
        "balancer stops sending some",
        shown="5 with another role than all and loader, otherwise 0",
    )
    destinations_max: int = define_setting(
        10,
        NumberKind(0, 10_000, unit="destinations"),
        "destinations that an account may make by the Connect API; 0 for no limit",
    )
    destinations_local: bool = define_setting(
        False,
        SwitchKind(),
        "true lets the server connect to databases on this machine that an account names; "
        "link-local addresses are always refused",
        shown="false",
    )
    duckdb_folder: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FolderKind(),
        "folder of the DuckDB files that an account names; their paths are relative to it",
        shown="the data folder",
    )
    publish: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "DuckDB file for readers, who may keep it open: a copy of the file that rows are loaded "
        "into, replaced after loads and readable for its group",
        shown="none",
    )
    publish_seconds: float = define_setting(
        60.0,
        NumberKind(1, 86_400, whole=False, unit="seconds"),
        "least time between two copies for readers",
    )
    held_seconds: float = define_setting(
        60.0,
        NumberKind(0, 86_400, whole=False, unit="seconds"),
        "if a reader holds the DuckDB file that rows are loaded into for so long, loading goes "
        "on in a copy under its name, and the reader keeps the old file; 0 waits for ever",
    )
    allowed_hosts: str | None = define_setting(
        None,
        TextKind(
            "host names with commas between them, such as treadle.example.com",
            pattern=r"[A-Za-z0-9_.:\[\]-]+( *, *[A-Za-z0-9_.:\[\]-]+)*",
        ),
        "further host names under which /docs, /metrics and the console are served; others are "
        "refused, which prevents DNS rebinding",
        shown="the listen address, localhost and the name in public_url",
    )
    docs_page: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off serves no page about the API at /docs; /openapi.json stays",
    )
    console: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off serves no console, the pages for people",
    )
    console_path: str = define_setting(
        "/console",
        TextKind(
            "a path such as /console, beside those of the APIs, of letters, digits and . _ ~ -",
            pattern=r"(?!/(v[0-9]+|notifications|metrics|docs|openapi\.json|healthz|readyz)(/|$))"
            r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+){1,5}",
        ),
        "path of the console",
    )
    public_url: str | None = define_setting(
        None,
        PublicUrlKind(),
        "URL under which people and senders reach the server, if a proxy gives it another one; "
        "links and examples use it",
        shown="the address that a request was sent to",
    )
    workers: int = define_setting(1, NumberKind(1, 64), "processes that answer requests")
    loaders: int = define_setting(
        1,
        NumberKind(1, LOADERS_MAX),
        "processes that load; they share the tables of each PostgreSQL destination, and one of "
        "them loads DuckDB files",
    )
    load_age_seconds: float | None = define_setting(
        None,
        NumberKind(0, 86_400, whole=False, unit="seconds"),
        "load a table once its oldest waiting record is this old; busy tables sooner",
        shown="1, and 60 for BigQuery, Snowflake, Iceberg and files, where each load has its price",
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
        400.0,
        NumberKind(1, 36_500, whole=False, unit="days"),
        "keep the audit trail, which says who changed what, this long",
    )
    report_days: float = define_setting(
        60.0,
        NumberKind(1, 36_500, whole=False, unit="days"),
        "keep reports of loads this long, and the newest of each table for ever; those older "
        "than a day are summed by table and hour, but for those with a failure, rejected records "
        "or a change of the table",
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
    quota_requests_per_second: int = define_setting(
        20_000,
        NumberKind(0, 10**9, unit="requests"),
        "requests a second of one source, answered 429 beyond; 0 for no limit; what is not used is "
        "saved up for ten seconds",
    )
    quota_bytes_per_second: int = define_setting(
        500_000_000,
        NumberKind(0, 10**15, unit="bytes"),
        "bytes of records a second of one source, answered 429 beyond; 0 for no limit",
    )
    quota_records_per_second: int = define_setting(
        2_000_000,
        NumberKind(0, 10**12, unit="records"),
        "records a second of one source, answered 429 beyond; 0 for no limit",
    )
    quota_bodies: int = define_setting(
        500,
        NumberKind(0, 10**6, unit="requests"),
        "requests of one source that a worker reads or decodes at once, answered 429 beyond; "
        "0 for no limit",
    )
    quota_waiting_bytes: int = define_setting(
        0,
        NumberKind(0, 10**15, unit="bytes"),
        "answer 429 to a source while so many bytes of its records wait to be loaded; 0 for no "
        "limit but its part of the log",
    )
    quota_tables: int = define_setting(
        20_000,
        NumberKind(0, 10**9, unit="tables"),
        "tables of one source; a request with a further one is answered 429; 0 for no limit",
    )
    quota_columns: int = define_setting(
        20_000,
        NumberKind(0, 10**9, unit="columns"),
        "columns of one table, where the database allows more; records with further ones are "
        "rejected; 0 for no limit",
    )
    quota_account_requests_per_second: int = define_setting(
        0,
        NumberKind(0, 10**9, unit="requests"),
        "requests a second of all sources of an account, answered 429 beyond; 0 for no limit",
    )
    quota_account_bytes_per_second: int = define_setting(
        0,
        NumberKind(0, 10**15, unit="bytes"),
        "bytes of records a second of all sources of an account, answered 429 beyond; 0 for no "
        "limit",
    )
    quota_account_records_per_second: int = define_setting(
        0,
        NumberKind(0, 10**12, unit="records"),
        "records a second of all sources of an account, answered 429 beyond; 0 for no limit",
    )
    quota_account_sources: int = define_setting(
        1_000,
        NumberKind(0, 10**9, unit="sources"),
        "sources that an account may make by the Connect API; 0 for no limit",
    )
    console_query: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off forbids SQL statements of account tokens, by POST /v1/query and on the page Query "
        "of the console",
    )
    console_payloads: str = define_setting(
        "operators",
        ChoiceKind(("operators", "all", "off")),
        "who sees values of records in the console: operators and admins, all sessions, or "
        "nobody; answers to refused requests and reasons of rejections may repeat values, and "
        "count as such; console_query is about rows of statements",
    )
    query_seconds: float = define_setting(
        10.0,
        NumberKind(1, 60, whole=False, unit="seconds"),
        "end a statement of an account token after this time; loading into a DuckDB file waits "
        "at most as long",
    )
    query_url: str | None = define_setting(
        None,
        UrlKind(
            "a URL such as postgresql://reader@db.example.com/warehouse",
            ("postgresql", "postgres", "mysql", "mariadb", "clickhouse", "redshift", "snowflake"),
        ),
        "URL of the database of the setting destination with a role that only reads, for "
        "statements of account tokens; without it, they run with the role that loads",
        shown="none: with the role that loads, and nothing but SELECT",
    )
    query_url_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds the URL of query_url, in place of it",
        shown="none",
        content_of="query_url",
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
        "off switches off the shorter way for requests that are like the one before them on the "
        "same connection; the answers are the same",
    )
    token_list: str = define_setting(
        "objects",
        ChoiceKind(("objects", "integers")),
        "how the Connect API lists tokens: as objects with a creation time, or as bare ids",
    )
    list_streams: str = define_setting(
        "on",
        ChoiceKind(("on", "off")),
        "off lets the Connect API list no tables as streams of a source",
    )
    hook_urls: str = define_setting(
        "https",
        ChoiceKind(("https", "any")),
        "which URLs post-load hooks may have; any allows plain HTTP and addresses of this machine, "
        "too",
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
    secret_key_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds secret_key, in place of it",
        shown="none",
        content_of="secret_key",
    )
    next_secret_key: str | None = define_setting(
        None,
        TextKind(
            "64 hexadecimal digits, as `openssl rand -hex 32` prints them",
            hidden=True,
            pattern=r"\s*[0-9a-fA-F]{64}\s*",
        ),
        "key that takes the place of secret_key when `treadle key rotate` is run; until then both "
        "are valid",
        shown="none",
        flag=False,
    )
    next_secret_key_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds next_secret_key, in place of it",
        shown="none",
        content_of="next_secret_key",
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
    metrics_token_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds metrics_token, in place of it",
        shown="none",
        content_of="metrics_token",
    )
    otel_endpoint: str | None = define_setting(
        None,
        UrlKind("a URL such as http://127.0.0.1:4318", ("http", "https")),
        "collector of OpenTelemetry that gets spans of pushes, loads and hooks by OTLP over HTTP",
        shown="none",
    )
    otel_percent: float = define_setting(
        100.0,
        NumberKind(0, 100, whole=False, unit="percent"),
        "part of the pushes that the collector gets",
    )
    smtp_url: str | None = define_setting(
        None,
        MailServerKind(),
        "mail server that takes mails about problems for the custom e-mails of accounts; without "
        "one they are stored and nothing is sent",
        shown="none",
        flag=False,
    )
    smtp_url_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds smtp_url, in place of it",
        shown="none",
        content_of="smtp_url",
    )
    mail_from: str | None = define_setting(
        None,
        TextKind(
            "an e-mail address such as treadle@example.com",
            pattern=r"[^\s\x00-\x1f\x7f-\x9f@\"(),:;<>\[\\\]]{1,64}"
            r"@[A-Za-z0-9]([A-Za-z0-9.-]{0,187}[A-Za-z0-9])?",
        ),
        "sender of mails",
        shown="the user of smtp_url where that is an address, otherwise treadle at the name of "
        "this machine",
    )
    mail_subject_prefix: str = define_setting(
        "treadle - ",
        TextKind("up to 100 printable characters", pattern=r"[^\x00-\x1f\x7f-\x9f]{1,100}"),
        "beginning of the subject of mails; what follows it never changes, so that filters can "
        "rely on it",
    )
    mail_plain_errors: bool = define_setting(
        True,
        SwitchKind(),
        "false leaves the texts of databases, which may quote values of records, out of mails",
        shown="true",
    )
    partner_id: str | None = define_setting(
        None,
        TextKind("1 to 255 printable characters", pattern=r"[!-~]{1,255}"),
        "id of the partner that may make accounts by POST /v3/accounts, together with "
        "partner_secret; without both of them nobody may",
        shown="none",
        flag=False,
    )
    partner_secret: str | None = define_setting(
        None,
        TextKind(
            "a secret of 22 to 512 printable characters", hidden=True, pattern=r"[!-~]{22,512}"
        ),
        "secret of the partner",
        shown="none",
        flag=False,
    )
    partner_secret_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds partner_secret, in place of it",
        shown="none",
        content_of="partner_secret",
    )
    accounts_max: int = define_setting(
        1_000,
        NumberKind(0, 10**9, unit="accounts"),
        "the partner makes no account while the server has this many; 0 for no limit",
    )
    log_level: str = define_setting(
        "info", ChoiceKind(("debug", "info", "warning", "error")), "lowest level that is logged"
    )
    log_format: str = define_setting(
        "text", ChoiceKind(("text", "json")), "how a log line is written"
    )
    log_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that log lines are appended to; opened anew on SIGHUP",
        shown="none: standard error",
    )

    @classmethod
    def read(
        cls,
        flags: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
        warn: Warn = ignore_warning,
    ) -> Self:
        """Take every setting from the first place that has it, and check all of them.

        Args:
            flags: setting name -> text given with its flag, and `config` -> the file's path; a
                flag that was not given is absent or None.
            environ: the environment; that of this process when None.
            warn: called with what works and should not stay so: a secret in a flag, or in a file
                that others can read.

        Raises:
            OperatorError: an unknown name, a value that is not valid, or a file that cannot be
                read or that others can write. The text says where.
        """
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = select_variables(
            os.environ if environ is None else environ, (FILE_SETTING, *SETTINGS, *PUSH_SETTINGS)
        )
        values = read_settings(SETTINGS, given, variables, warn)
        return cls(**values).note_origins(find_origins(SETTINGS, given, variables, values))

    def note_origins(self, origins: Mapping[str, str]) -> Self:
        """Note where the values came from: setting name -> "flag", "environment" or "file".

        Returns:
            This object.
        """
        object.__setattr__(self, "_origins", dict(origins))
        return self

    @property
    def origins(self) -> Mapping[str, str]:
        """Where the values came from; a setting that is missing has its default."""
        origins: Mapping[str, str] = getattr(self, "_origins", {})
        return origins

    @property
    def roles(self) -> frozenset[MemberRole]:
        """The parts of the work that this server does."""
        return expand_roles(self.role)

    @property
    def in_cluster(self) -> bool:
        """Whether the work is shared with other members, as the role says."""
        return self.role != (ALL,)

    @property
    def drain_pause(self) -> float:
        """Seconds from the order to stop until the listener closes.

        A server that does everything stops at once unless the settings say otherwise: nobody else
        could take its requests. Nobody sends requests to a loader.
        """
        if self.drain_seconds is not None:
            return self.drain_seconds
        if not self.in_cluster or self.roles == {MemberRole.LOADER}:
            return 0.0
        return DRAIN_SECONDS

    @property
    def processes_path(self) -> Path:
        """The folder with the notes of the server's processes."""
        return self.data / "processes"

    @property
    def load_age(self) -> float:
        """The age in seconds at which a table is loaded, where the destination has no other."""
        return LOAD_AGE_SECONDS if self.load_age_seconds is None else self.load_age_seconds

    @property
    def destination_url(self) -> str:
        """The URL that rows are loaded into. It may contain a password."""
        return self.destination or "duckdb://" + quote(str(self.warehouse_path))

    @property
    def public_path(self) -> str:
        """The path of `public_url`, such as "/treadle"; empty where it has none."""
        return urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def duckdb_path(self) -> Path:
        """The folder of the DuckDB files that an account names."""
        return (self.duckdb_folder or self.data).absolute()

    @property
    def store_url(self) -> str:
        """The URL of the store. It may contain a password."""
        return self.store or f"sqlite:///{self.store_path}"

    def has_store(self) -> bool:
        """Return whether a store was made at `store_url`, as far as no server has to be asked."""
        return self.store is not None or self.store_path.exists()

    @property
    def store_path(self) -> Path:
        """The file of the store; there is none where `store` is set."""
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
    def first_token_path(self) -> Path:
        """The file with the token of the first account, until somebody removes it."""
        return self.data / "account.token"

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
    def refusals_path(self) -> Path:
        """The folder with the refused requests of all workers."""
        return self.data / "refusals"

    @property
    def series_path(self) -> Path:
        """The file with the figures of the last 90 days."""
        return self.data / "series"

    @property
    def examinations_path(self) -> Path:
        """The folder with the last examinations of the server."""
        return self.data / "examinations"

    @property
    def publication_path(self) -> Path:
        """The file that tells of the last copy for readers."""
        return self.data / "publication"

    @property
    def problems_path(self) -> Path:
        """The file with the problems of the last days, from their beginning to their end."""
        return self.data / "problems"

    @property
    def turns_path(self) -> Path:
        """The folder by which the loader and dry runs take turns at a destination."""
        return self.data / "turns"

    @property
    def move_path(self) -> Path:
        """The note that the installation of the folder was moved to a cluster."""
        return self.data / "moved.json"

    @property
    def push_path(self) -> Path:
        """The folder where `treadle push` remembers its progress."""
        return self.data / "push"

    @property
    def socket_path(self) -> Path | None:
        """The UNIX socket that the server listens at; None where it listens at an address."""
        return find_socket_path(self.host)

    @property
    def url(self) -> str:
        """The URL at which a client on this machine reaches the server.

        Through a UNIX socket, it is the URL that is asked for inside of the connection.
        """
        scheme = "http" if self.tls_cert is None else "https"
        if self.socket_path is not None:
            return f"{scheme}://localhost"
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"{scheme}://{format_host(here)}:{self.port}"

    def make_data_folder(self) -> None:
        """Make the data folder if it is missing, readable by its owner only.

        Raises:
            OperatorError: it cannot be made, cannot be written to, or others can write to it.
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
        self.check_data_folder()

    def check_data_folder(self, warn: Warn = ignore_warning) -> None:
        """Refuse a data folder that others can write to, and warn of one that they can read.

        A folder that is not there yet will be made for its owner only.

        Raises:
            OperatorError: others can write to it.
        """
        try:
            mode = stat.S_IMODE(self.data.stat().st_mode)
        except OSError:  # not there, or whoever opens it says why it cannot be
            return
        exposure = judge_rights(mode)
        if exposure is Exposure.REFUSED:
            raise OperatorError(
                f"The data folder {self.data} {describe_exposure(mode)}, who can so replace what "
                f"is in it; run `chmod go-w {self.data}`, or name another one with --data."
            )
        if exposure is Exposure.READABLE:
            warn(
                OperatorWarning(
                    f"The data folder {self.data} {describe_exposure(mode)}.",
                    "They can list it, and read what in it is not private by itself.",
                    f"Run `chmod go-rwx {self.data}`.",
                )
            )


def format_host(host: str) -> str:
    """Return an address as it is written in a URL: of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


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
        shown="the one of the data folder",
    )
    token: str | None = define_setting(
        None,
        TextKind("an Import API access token", hidden=True, pattern=r"[!-~]+"),
        "Import API access token",
        shown="the source's",
    )
    token_file: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file that holds token, in place of it",
        shown="none",
        content_of="token",
        file=False,
    )
    client_id: int | None = define_setting(
        None,
        NumberKind(1, 2**63 - 1),
        "client the token belongs to",
        shown="the source's account",
    )
    ca: Path | None = define_setting(  # noqa: RUF009 - a field, as above
        None,
        FileKind(),
        "file in PEM with the certificates of the authorities that are trusted over TLS",
        shown="those of SSL_CERT_FILE, or the usual ones",
    )
    batch_records: int = define_setting(
        5_000,
        NumberKind(1, 20_000, unit="records"),  # import-api.md 5: 20,000 records a request
        "records per request",
    )
    connections: int = define_setting(2, NumberKind(1, 64), "concurrent requests")
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
        warn: Warn = ignore_warning,
    ) -> Self:
        """Read the settings as `Config.read` does, without a settings file."""
        given = {name: text for name, text in (flags or {}).items() if text is not None}
        variables = select_variables(
            os.environ if environ is None else environ, (FILE_SETTING, *SETTINGS, *PUSH_SETTINGS)
        )
        return cls(**read_settings(PUSH_SETTINGS, given, variables, warn, file=False))


SETTINGS = list_settings(Config)
PUSH_SETTINGS = list_settings(PushConfig)
