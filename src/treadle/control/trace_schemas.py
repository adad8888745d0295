"""The types of answers about the server itself; the OpenAPI document is made from them."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_report_routes import Count, MicrosecondTime
from treadle.control.schemas import Id, Instant, component

Figure = Annotated[float | None, Field(description="null where it is not known")]
Seconds = Annotated[float | None, Field(ge=0)]
Stranger = Annotated[
    bool, Field(description="the request had no token that the server knows, or ever knew")
]


@component("RefusedRequest")
class RefusedRequestAnswer(TypedDict):
    """One request that was refused."""

    request_id: Annotated[str, Field(description="the number of a worker, and one of its own")]
    at: MicrosecondTime
    endpoint: Annotated[str, Field(description="a name such as push, as in /metrics")]
    status: Annotated[int, Field(ge=400, le=599)]
    reason: Annotated[str, Field(description="the answer's sentence without names and numbers")]
    source_id: Id | None
    token_id: Id | None
    token_fingerprint: Annotated[
        str | None,
        Field(description="8 hexadecimal digits of the SHA-256 of the token that was sent"),
    ]
    is_stranger: Stranger
    address: Annotated[str | None, Field(description="of the client; null where it is not known")]
    bytes: Annotated[int, Field(ge=0, description="of the body, as the request declared them")]
    answer: Annotated[str, Field(description="the first 500 bytes of the answer's body")]


@component("RefusalGroup")
class RefusalGroupAnswer(TypedDict):
    """The refusals that have endpoint, status, reason and token in common."""

    endpoint: str
    status: Annotated[int, Field(ge=400, le=599)]
    reason: str
    source_id: Id | None
    token_id: Id | None
    is_stranger: Stranger
    first_at: MicrosecondTime
    last_at: MicrosecondTime
    total: Annotated[int, Field(ge=1, description="since the group was first seen")]
    minutes: Annotated[
        list[Count],
        Field(min_length=60, max_length=60, description="by minute, the present one last"),
    ]
    latest_request_id: str | None
    latest_answer: str | None


@component("Refusals")
class RefusalPage(TypedDict):
    """Refused requests, newest first, and all of them counted by cause."""

    refusals: list[RefusedRequestAnswer]
    groups: list[RefusalGroupAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


@component("Series")
class SeriesAnswer(TypedDict):
    """Figures over time."""

    source_id: Id | None
    step_seconds: Literal[10, 60, 3600]
    from_at: Annotated[Instant, Field(description="when the first step begins")]
    until_at: Annotated[Instant, Field(description="when the last step ends")]
    series: Annotated[
        dict[str, list[Figure]],
        Field(description="name -> a value for each step; counts are those of the step"),
    ]


@component("StatusTotals")
class StatusTotals(TypedDict):
    """Records since the store was made."""

    accepted: Count
    loaded: Count
    superseded: Count
    rejected: Count
    waiting: Count


@component("StatusRate")
class StatusRate(TypedDict):
    """Records a second, over the last seconds."""

    seconds: int
    accepted: Figure
    loaded: Figure
    superseded: Figure
    rejected: Figure


@component("Freshness")
class FreshnessAnswer(TypedDict):
    """How long records of the last hour waited until they were loaded."""

    p50_seconds: Seconds
    p99_seconds: Seconds


@component("StatusTables")
class StatusTables(TypedDict):
    """Numbers of tables."""

    known: Annotated[int, Field(ge=0, description="that were loaded, or tried")]
    failing: Annotated[int, Field(ge=0, description="the last try failed")]
    stopped: Annotated[int, Field(ge=0, description="that wait for somebody to act")]


@component("DestinationState")
class DestinationState(TypedDict):
    """A destination as it is now."""

    id: Id
    type: str
    name: str
    state: Literal["up", "down", "unchecked"]
    since: Annotated[str | None, Field(description="since when it is down")]
    said: Annotated[str | None, Field(description="why it is down")]


@component("ServerFigures")
class FiguresAnswer(TypedDict):
    """Figures of the whole server."""

    log_bytes: Figure
    disk_free_bytes: Figure
    requests_per_second: Annotated[
        dict[str, Figure],
        Field(description="by class of status; in a cluster those of all members together"),
    ]


@component("ServerStatus")
class StatusAnswer(TypedDict):
    """Everything at one look."""

    at: MicrosecondTime
    version: str
    totals: StatusTotals
    rates: list[StatusRate]
    oldest_waiting_at: str | None
    oldest_waiting_seconds: Seconds
    freshness: FreshnessAnswer
    tables: StatusTables
    sampled_at: Annotated[str | None, Field(description="beginning of the last step of the series")]
    destinations: list[DestinationState]
    problems: Annotated[int | None, Field(description="null where it is not known yet")]
    server: Annotated[
        FiguresAnswer | None, Field(description="null where the server has several accounts")
    ]


@component("SourceWaiting")
class SourceWaiting(TypedDict):
    """What waits of a source."""

    source_id: Id
    name: str | None
    waiting_bytes: Annotated[int, Field(ge=0, description="not compressed")]
    waiting_records: Count


@component("CommitTimes")
class CommitTimesAnswer(TypedDict):
    """How long the last commits of the log took, their fsync included."""

    commits: Annotated[int, Field(ge=0, description="of the last hour, 512 of a worker at most")]
    p50_seconds: Seconds
    p99_seconds: Seconds


@component("LogHealth")
class LogHealth(TypedDict):
    """The log and its disk."""

    bytes: int | None
    disk_free_bytes: int | None
    log_bytes_max: Annotated[int | None, Field(description="the setting log_bytes; null for none")]
    disk_reserve_bytes: Count
    shortage: Annotated[str | None, Field(description="why requests are answered 503")]
    full_in_seconds: Annotated[
        int | None, Field(description="at the rate of the last day; null where it does not grow")
    ]
    append_failures: Count
    fsync: CommitTimesAnswer
    oldest_kept_at: Annotated[
        str | None, Field(description="when the oldest entry that is kept was accepted")
    ]
    waiting: list[SourceWaiting]


@component("ServerProcess")
class ServerProcess(TypedDict):
    """A process of the server."""

    name: str
    pid: int
    since: MicrosecondTime
    restarts: Count
    is_running: bool
    memory_bytes: int | None


@component("UnitGroup")
class UnitGroupAnswer(TypedDict):
    """Units of one log, or the one of a destination that one process at a time can open."""

    log: Annotated[int | None, Field(description="number of the log; null for a destination")]
    destination_id: Annotated[int | None, Field(description="null for units of a log")]
    units: Count
    of: Annotated[int, Field(ge=0, description="that there are")]
    since: Annotated[MicrosecondTime, Field(description="when the first of them was taken")]
    last_taken_at: MicrosecondTime


@component("Log")
class LogAnswer(TypedDict):
    """A log of the installation; what waits in it is null while it cannot be asked."""

    number: int
    kind: str
    state: Annotated[
        Literal["open", "draining", "closed"],
        Field(description="`draining`: it takes no new sources"),
    ]
    place: Annotated[str, Field(description="its database, or its file")]
    sources: Count
    tables_waiting: int | None
    entries_waiting: int | None
    records_waiting: int | None
    bytes_waiting: Annotated[int | None, Field(description="not compressed")]
    oldest_waiting_at: str | None
    bytes: Annotated[int | None, Field(description="that it uses")]
    trouble: Annotated[str | None, Field(description="why it cannot be asked")]
    durability: Annotated[
        str | None, Field(description="the setting log_durability; null where nobody looked lately")
    ]
    commits_wait_for: Annotated[
        str | None,
        Field(description="synchronous_standby_names of its server; empty where they do not wait"),
    ]
    standbys_connected: Annotated[
        int | None, Field(description="of those; null where the server does not show them")
    ]


@component("Member")
class MemberAnswer(TypedDict):
    """A process that shares the work with those of other machines."""

    member: Annotated[str, Field(description="name of its server")]
    process: str
    role: Annotated[str, Field(description="ingest, loader, control, or several with commas")]
    host: str
    version: str
    units: Annotated[int | None, Field(description="that a loader has; null for others")]
    since: MicrosecondTime
    beat_seconds: Annotated[float, Field(description="since it said last that it is there")]
    is_live: bool
    state: Annotated[
        Literal["ready", "draining", "lost"],
        Field(description="`draining`: about to stop, and given nothing more"),
    ]
    address: Annotated[str | None, Field(description="where it answers; null where it does not")]
    answers: Annotated[
        dict[str, int] | None,
        Field(
            description="requests that it answered, by class of status, since its data folder was "
            "made; null where it answers none"
        ),
    ]
    unit_groups: Annotated[list[UnitGroupAnswer], Field(description="the units of a loader")]


@component("Health")
class HealthAnswer(TypedDict):
    """How the server is."""

    at: MicrosecondTime
    log: LogHealth
    processes: list[ServerProcess]
    members: Annotated[
        list[MemberAnswer], Field(description="of a cluster; empty where the store is a file")
    ]
    machine: Annotated[
        str | None,
        Field(
            description="the member whose disk, commits and processes these are; null where the "
            "store is a file"
        ),
    ]
    units_free: Annotated[
        list[UnitGroupAnswer], Field(description="that no live loader has: what is for them waits")
    ]
    logs: Annotated[list[LogAnswer], Field(description="empty where the store is a file")]


@component("Setting")
class SettingAnswer(TypedDict):
    """A setting in force."""

    name: str
    value: Annotated[
        str | int | float | bool | None, Field(description="`set` for a secret; null for none")
    ]
    origin: Literal["flag", "environment", "file", "default"]
    help: str


@component("Settings")
class SettingList(TypedDict):
    """The settings in force."""

    settings: list[SettingAnswer]
