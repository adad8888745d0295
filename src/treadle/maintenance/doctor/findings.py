"""Judges measured values: what they mean, and what to do. Nothing here asks the system anything."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from treadle.config import Config, OperatorWarning, is_loopback
from treadle.counting import count_noun, count_subject
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.rehearsal_result import RehearsalResult, describe_rehearsal
from treadle.destinations.upkeep import CrowdedTable
from treadle.file_rights import Exposure, describe_exposure, judge_rights
from treadle.tables.plan.keys import KEY_TYPE_DIFFERS, KEYS_DIFFER
from treadle.text import end_sentence, format_bytes, make_clause

Level = Literal["good", "odd", "bad"]
"""good: nothing to do. odd: worth a thought. bad: records are refused, wait, or are at risk."""

HASTY_PART: Final = 3
"""An age of loads is hasty below this part of what is usual for the destination, a third."""

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs", "rootfs"})
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "virtiofs"}
)
LAYERED_FILE_SYSTEMS: Final = frozenset({"overlay", "aufs"})

FSYNC_MIN_US: Final = 8.0
"""Below this no disk has written anything; the fastest drives take about 20."""
FSYNC_ODD_US: Final = 50_000.0
"""A request waits for one fsync, which it shares with the requests that wait together with it."""
FSYNC_BAD_US: Final = 1_000_000.0

CLOCK_SKEW_MAX_US: Final = 60_000_000
WAITING_AGE_MAX_US: Final = 3_600_000_000
OPEN_FILES_MIN: Final = 1024
"""Each connection of a client takes one, and so does each file."""
DAY_US: Final = 86_400_000_000
CERTIFICATE_DAYS_MIN: Final = 14
"""Days before its end at which a certificate should have been renewed."""
CLOCK_EARLIEST_US: Final = 1_735_689_600_000_000  # 2025: before treadle was written


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        subject: disk, clock, settings, ...
        found: what was measured, one sentence.
        meaning: what follows from it; empty if all is well.
        remedy: what to do; empty if there is nothing to do.
    """

    subject: str
    level: Level
    found: str
    meaning: str = ""
    remedy: str = ""


def render_findings(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the findings as a value of JSON, as the command and the API give them."""
    return {
        "ok": is_healthy(findings),
        "findings": [
            {
                "subject": one.subject,
                "level": one.level,
                "found": one.found,
                "meaning": one.meaning,
                "remedy": one.remedy,
            }
            for one in findings
        ],
    }


LEVEL_WORDS: Final[dict[Level, tuple[str, str]]] = {
    "good": ("ok", "ok"),
    "odd": ("warning", "warnings"),
    "bad": ("problem", "problems"),
}
"""How a level is called to people: of one finding, of several."""


def summarize_levels(levels: Iterable[Level]) -> str:
    """Return how many findings there are of each level: `16 ok, 0 warnings, 1 problem`."""
    found = list(levels)
    return ", ".join(count_noun(found.count(level), *words) for level, words in LEVEL_WORDS.items())


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Return whether none of the findings is bad."""
    return all(finding.level != "bad" for finding in findings)


# --- the disk -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskMount:
    """The file system that a folder is on.

    Attributes:
        kind: its name, "ext4"; empty if the system does not say.
        options: of the mount.
    """

    kind: str
    options: tuple[str, ...] = ()


def find_mount(path: str, mounts: str) -> DiskMount:
    """Return the mount that a path is on.

    Args:
        path: absolute, links resolved.
        mounts: the text of /proc/self/mountinfo (proc(5)).
    """
    best, found = "", DiskMount("")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        words, further = before.split(), after.split()
        if len(words) < 6 or len(further) < 2:
            continue
        place = words[4].encode().decode("unicode_escape")  # a blank is written as \040
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):  # a later mount hides an earlier one
            options = {*words[5].split(","), *(further[2].split(",") if further[2:] else ())}
            best, found = place, DiskMount(further[0], tuple(sorted(options)))
    return found


@dataclass(frozen=True, slots=True)
class DiskMeasurement:
    """The disk of the data folder.

    Attributes:
        fsyncs_us: the times of some small writes with an fsync, microseconds.
        free: bytes that this user may still write.
        used: bytes that the log holds.
        read_only: nothing can be written there.
    """

    mount: DiskMount
    fsyncs_us: tuple[float, ...]
    free: int
    used: int
    read_only: bool = False


def judge_disk(found: DiskMeasurement, config: Config) -> Iterator[Finding]:
    """Judge whether acknowledged records are safe there, and whether there is enough space."""
    kind = found.mount.kind
    if found.read_only:
        yield Finding(
            "disk",
            "bad",
            f"The data folder {config.data} is on a disk that is mounted read-only.",
            "No server can work with it. Nothing is said here about damage: what is there may be "
            "sound.",
            "Find out why (`dmesg`; after an error of the disk Linux does this by itself), and "
            "mount it writable again.",
        )
    if kind in MEMORY_FILE_SYSTEMS:
        yield Finding(
            "disk",
            "bad",
            f"The data folder is in memory ({kind}).",
            "What was acknowledged is gone after a restart of the machine.",
            "Name a folder on a disk with --data.",
        )
    elif kind in NETWORK_FILE_SYSTEMS or (
        kind.startswith("fuse.") and kind != "fuse.fuse-overlayfs"
    ):
        yield Finding(
            "disk",
            "bad",
            f"The data folder is on a network file system ({kind}).",
            "SQLite's write-ahead log needs memory that processes share and locks that hold, and "
            "such a file system promises neither: the log may be damaged.",
            "Name a folder on a local disk or a block device with --data.",
        )
    elif kind in LAYERED_FILE_SYSTEMS:
        yield Finding(
            "disk",
            "odd",
            f"The data folder is in a container's own layer ({kind}).",
            "It is gone with the container.",
            "Mount a volume there, or name a folder on one with --data.",
        )
    elif kind:
        yield Finding("disk", "good", f"The data folder is on a local file system ({kind}).")
    careless = sorted({"nobarrier", "barrier=0", "data=writeback"} & set(found.mount.options))
    if careless:
        yield Finding(
            "disk",
            "bad",
            f"It is mounted with {', '.join(careless)}.",
            "A power cut can lose what was fsynced, and so what was acknowledged.",
            "Mount it without, unless its write cache has a battery.",
        )
    yield from _judge_fsync(found.fsyncs_us)
    yield from _judge_free_space(found, config)


def _judge_fsync(fsyncs_us: Sequence[float]) -> Iterator[Finding]:
    if not fsyncs_us:
        return
    middle, most = median(fsyncs_us), max(fsyncs_us)
    said = (
        f"A write with fsync takes {_format_milliseconds(middle)} "
        f"(median of {len(fsyncs_us)}, slowest {_format_milliseconds(most)})."
    )
    if middle < FSYNC_MIN_US:
        yield Finding(
            "disk",
            "odd",
            said,
            "No disk is that fast: something answers fsync without writing (memory, libeatmydata, "
            "a virtual disk with a write-back cache). A power cut can lose what was acknowledged.",
            "Find out what the folder is on, and switch its write-back cache off.",
        )
    elif middle >= FSYNC_BAD_US:
        yield Finding(
            "disk",
            "bad",
            said,
            "Every request waits for one; clients will time out.",
            "Move the data folder to another disk with --data, or look for what else writes there.",
        )
    elif middle >= FSYNC_ODD_US:
        yield Finding(
            "disk",
            "odd",
            said,
            "Every request waits for one; requests that wait together share it.",
            "Send larger requests, or move the data folder to a faster disk.",
        )
    else:
        yield Finding("disk", "good", said)


def _judge_free_space(found: DiskMeasurement, config: Config) -> Iterator[Finding]:
    reserve = config.disk_reserve_bytes
    said = (
        f"{format_bytes(found.free)} are free, disk_reserve_bytes keeps "
        f"{format_bytes(reserve)} of them."
    )
    if found.free < reserve:
        yield Finding(
            "disk",
            "bad",
            said,
            "Requests are answered 503 until there is room; what was accepted goes on loading.",
            "Make room on this disk, or lower --disk-reserve-bytes.",
        )
    elif found.free < 2 * reserve:
        yield Finding(
            "disk",
            "odd",
            said,
            "Soon requests will be answered 503.",
            "Make room on this disk.",
        )
    else:
        yield Finding("disk", "good", said)
    if config.log_bytes and found.used >= config.log_bytes:
        yield Finding(
            "disk",
            "bad",
            f"The log holds {format_bytes(found.used)}, and log_bytes allows "
            f"{format_bytes(config.log_bytes)}.",
            "Requests are answered 503 until some is loaded and removed.",
            "Look at `treadle log stats` for what waits, or raise --log-bytes.",
        )


def _format_milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.{0 if microseconds >= 100_000 else 3}f} ms"


# --- clock, files, settings -----------------------------------------------------------------------


def judge_clock(now: int, newest: int | None) -> Finding:
    """Judge whether the clock is wrong or was set back.

    Args:
        now: microseconds since 1970.
        newest: the latest time in the store; None for none.
    """
    if now < CLOCK_EARLIEST_US:
        return Finding(
            "clock",
            "bad",
            f"The clock says {now // 1_000_000} seconds since 1970, which was before 2025.",
            "Records would carry wrong times, and nothing is removed from the log when it is due.",
            "Set the clock, and keep it with NTP.",
        )
    if newest is not None and newest > now + CLOCK_SKEW_MAX_US:
        return Finding(
            "clock",
            "bad",
            f"The store has noted a time {(newest - now) / 1e6:.0f} s in the future.",
            "The clock was set back. `treadle push` numbers records by it, so that what it sends "
            "now loses against what it sent before.",
            "Set the clock, and keep it with NTP.",
        )
    return Finding("clock", "good", "The clock is not behind what was noted before.")


def judge_destination_clock(name: str, now: int, there: int) -> Finding | None:
    """Judge whether a destination's clock differs from ours; None if it does not."""
    if abs(there - now) <= CLOCK_SKEW_MAX_US:
        return None
    return Finding(
        "clock",
        "odd",
        f"The clock of {name} is {(there - now) / 1e6:+.0f} s off ours.",
        "Times that treadle writes and times that the database writes do not compare.",
        "Keep both clocks with NTP.",
    )


def judge_open_files(limit: int) -> Finding:
    """Judge whether enough files may be open at once."""
    said = f"A process may have {limit} files open."
    if limit < OPEN_FILES_MIN:
        return Finding(
            "system",
            "odd",
            said,
            "Each connection of a client takes one; beyond that they are turned away.",
            "Raise it with `ulimit -n` or LimitNOFILE.",
        )
    return Finding("system", "good", said)


@dataclass(frozen=True, slots=True)
class FileRights:
    """The permissions of a file or folder of treadle.

    Attributes:
        name: its name in the documentation.
        mode: its permission bits.
        usable: this user may read and write it.
        own: it belongs to this user.
        folder: it is the data folder, which contains the others.
        owner: the name of the user that it belongs to.
    """

    name: str
    path: str
    mode: int
    usable: bool
    own: bool
    folder: bool = False
    owner: str = ""


def judge_folder(path: str, *, exists: bool, is_used: bool) -> Finding | None:
    """Judge whether the data folder is one of treadle; None where it is.

    Args:
        path: of the folder.
        exists: it is there.
        is_used: a store or a log is in it.
    """
    if is_used:
        return None
    return Finding(
        "files",
        "odd",
        f"There is no treadle data in {path}." if exists else f"There is no data folder {path}.",
        "What follows is about a server that would begin there. It sees no other.",
        "Name the folder of the server with --data (TREADLE_DATA), or begin with `treadle serve`.",
    )


def judge_files(found: Sequence[FileRights], *, read_only: bool = False) -> Iterator[Finding]:
    """Judge whether treadle, and only treadle, may use its files.

    Args:
        found: the rights to each.
        read_only: the disk is, so that nobody may write them; another finding says so.
    """
    shut = any(one.folder and judge_rights(one.mode) is Exposure.PRIVATE for one in found)
    troubled = read_only
    unusable = [one for one in found if not one.usable]
    foreign = [one for one in found if not one.own and one.usable]
    if unusable and not read_only:
        owners = sorted({one.owner for one in unusable})
        yield Finding(
            "files",
            "bad",
            f"{_join_files(unusable)} cannot be read and written by this user.",
            f"{_count_owners(unusable, owners)} A server that runs as this user cannot work.",
            f"Run treadle as {owners[0]}, for example with `sudo -u {owners[0]}`, or change the "
            "owner."
            if len(owners) == 1 and owners[0]
            else "Run treadle as the user they belong to, or change their owner.",
        )
    if foreign:
        owners = sorted({one.owner for one in foreign})
        yield Finding(
            "files",
            "odd",
            f"{_join_files(foreign)} {_belong(foreign)} to another user"
            + (f" ({', '.join(owners)})." if any(owners) else "."),
            "It works for this one now; files made by one of them may not for the other.",
            "Run treadle always as one user.",
        )
    for one in found:
        exposure = judge_rights(one.mode)
        exposed = exposure is not Exposure.PRIVATE and (one.folder or not shut)
        troubled = troubled or not one.usable or not one.own or exposed
        if exposed and one.usable:
            refused = exposure is Exposure.REFUSED
            yield Finding(
                "files",
                "bad" if refused else "odd",
                f"{one.name} {one.path} {describe_exposure(one.mode)}.",
                _explain_exposure(one, refused=refused),
                f"Run `chmod {'go-w' if refused else 'go-rwx'} {one.path}`.",
            )
    if found and not troubled:
        yield Finding("files", "good", "The data folder is this user's alone.")


def _join_files(found: Sequence[FileRights]) -> str:
    first = f"{found[0].name} {found[0].path}"
    more = len(found) - 1
    return first if not more else f"{first} and {more} {'file' if more == 1 else 'files'} in it"


def _belong(found: Sequence[FileRights]) -> str:
    return "belongs" if len(found) == 1 else "belong"


def _count_owners(found: Sequence[FileRights], owners: Sequence[str]) -> str:
    what = "It belongs" if len(found) == 1 else "They belong"
    return f"{what} to {', '.join(owners)}." if any(owners) else ""


def _explain_exposure(one: FileRights, *, refused: bool) -> str:
    if one.folder and refused:
        return "No command of treadle works with it, and the server does not start."
    if one.folder:
        return "They can list it, and read what in it is not private by itself."
    return "They can read what clients sent" + (", and change it." if refused else ".")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Facts about the machine that settings are compared with.

    Attributes:
        cores: processors that this process may use.
        root: this process runs as root.
        address: that `host` names, looked up; None if it names none, or a socket.
    """

    cores: int
    root: bool
    address: str | None


def judge_settings(
    config: Config, machine: MachineFacts, warnings: Sequence[OperatorWarning] = ()
) -> Iterator[Finding]:
    """Find settings that are valid but seldom intended. Invalid ones end every command earlier.

    Args:
        config: the settings.
        machine: what they are compared with.
        warnings: found while they were read.
    """
    found = [Finding("settings", "odd", one.found, one.meaning, one.remedy) for one in warnings]
    found += _find_odd_settings(config, machine)
    yield from found
    if not found:
        yield Finding("settings", "good", "Nothing unusual in the settings.")


def _find_odd_settings(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    if machine.root:
        yield Finding(
            "settings",
            "odd",
            "This is root: a server that runs as the same user does so, too.",
            "A fault in it is a fault of the whole machine.",
            "Run it as a user of its own.",
        )
    yield from _judge_address(config, machine.address)
    if any(network.endswith("/0") for network in config.trusted_proxies):
        yield Finding(
            "settings",
            "odd",
            "trusted_proxies holds every address.",
            "Whoever sends X-Forwarded-For chooses the address that is noted for a request.",
            "Name the addresses of your proxies.",
        )
    if config.port == 0:
        yield Finding(
            "settings",
            "odd",
            "port is 0: every start listens at another one.",
            "Clients do not find the server again.",
            "Choose one with --port.",
        )
    if config.workers > machine.cores:
        yield Finding(
            "settings",
            "odd",
            f"workers is {config.workers} on {machine.cores} processors.",
            "They take turns, and each costs memory.",
            "Lower --workers; one accepts some hundred thousand records a second.",
        )
    if config.load_age == 0:
        yield Finding(
            "settings",
            "odd",
            "load_age_seconds is 0: every request is loaded by itself.",
            "Many small transactions in the destination.",
            "Raise --load-age-seconds.",
        )
    if config.retention_days == 0:
        yield Finding(
            "settings",
            "odd",
            "retention_days is 0: requests are removed from the log once they are loaded.",
            "Receipts cannot be followed, and nothing can be loaded a second time.",
            "Raise --retention-days.",
        )
    if config.disk_reserve_bytes == 0:
        yield Finding(
            "settings",
            "odd",
            "disk_reserve_bytes is 0: requests are taken until the disk is full.",
            "On a full disk loading may have no room to go on, and loading is what makes room.",
            "Raise --disk-reserve-bytes.",
        )
    if config.log_bytes and config.log_bytes < config.load_bytes:
        yield Finding(
            "settings",
            "odd",
            f"log_bytes ({config.log_bytes}) is less than load_bytes ({config.load_bytes}).",
            "The log is full before a load is due by its size.",
            "Raise --log-bytes or lower --load-bytes.",
        )


def _judge_address(config: Config, address: str | None) -> Iterator[Finding]:
    """Judge whether tokens and records cross a network in clear."""
    if config.socket_path is not None or config.tls_cert is not None:
        return
    if address is None:
        yield Finding(
            "settings",
            "bad",
            f"host is {config.host}, and no address is found for it.",
            "The server does not start.",
            "Name another one with --host.",
        )
    elif not is_loopback(address):
        yield Finding(
            "settings",
            "odd" if config.insecure_http else "bad",
            f"host is {config.host}: the server listens beyond this machine, without TLS.",
            "Tokens and records can be read by whoever is on the way."
            if config.insecure_http
            else "The server does not start: tokens and records would cross the network in clear.",
            "Set tls_cert and tls_key, or let a proxy that speaks TLS listen, and treadle at "
            "127.0.0.1 or at a UNIX socket behind it.",
        )


# --- certificate ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CertificateMeasurement:
    """The certificate that the server shows.

    Attributes:
        fault: why it cannot be used; None if it can.
        names: the hosts that it is for.
        expires: when it stops to be valid, microseconds since 1970.
    """

    fault: str | None
    names: tuple[str, ...] = ()
    expires: int = 0


def describe_server(folder: str, *, taken: bool, process: int | None, address: str | None) -> str:
    """Return the sentence whether a server runs.

    Args:
        folder: the data folder.
        taken: a process has its lock.
        process: the PID of a server that takes requests.
        address: where it listens.
    """
    if process is not None:
        return f"A server runs on {folder}: process {process}, at {address}."
    return f"A server runs on {folder}." if taken else f"No server runs on {folder}."


def judge_certificate(found: CertificateMeasurement, now: int) -> Finding:
    """Judge whether clients can trust the certificate, and for how long."""
    remedy = "Get a new one, and send SIGHUP to the server."
    if found.fault is not None:
        return Finding(
            "certificate",
            "bad",
            found.fault,
            "The server does not start; one that runs keeps the certificate that it has.",
            "Mend it.",
        )
    said = f"The certificate for {', '.join(found.names)}"
    days = (found.expires - now) // DAY_US
    if found.expires <= now:
        return Finding("certificate", "bad", f"{said} has expired.", "Clients refuse it.", remedy)
    if days < CERTIFICATE_DAYS_MIN:
        return Finding(
            "certificate",
            "odd",
            f"{said} expires in {count_noun(days, 'day')}.",
            "Clients will refuse it.",
            remedy,
        )
    return Finding("certificate", "good", f"{said} is valid for {count_noun(days, 'day')}.")


# --- store, key, log ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyMeasurement:
    """The key that secrets in the store are encrypted with.

    Attributes:
        place: an environment variable or a file.
        exists: there is a key in that place.
        fault: why it cannot be used; None if it can, or is missing.
        fits_store: the store was made with it; None without a store to compare with.
    """

    place: str
    exists: bool
    fault: str | None = None
    fits_store: bool | None = None


def judge_key(found: KeyMeasurement) -> Finding:
    """Judge whether the key exists, is private, and is the one that the store was made with."""
    if not found.exists:
        if found.fits_store is None:
            return Finding(
                "key", "good", f"There is no {found.place} yet; the first start makes one."
            )
        return Finding(
            "key",
            "bad",
            f"The {found.place} is gone.",
            "Without it nobody can read the tokens and destination URLs in the store, and the "
            "server does not start.",
            "Bring it back from a backup; do not let another one be made in its place.",
        )
    if found.fault is not None:
        return Finding("key", "bad", found.fault, "The server does not start.", "Mend it.")
    if found.fits_store is False:
        return Finding(
            "key",
            "bad",
            f"The key in the {found.place} is not the one the store was made with.",
            "The server does not start.",
            "Bring back the old key, or the store that belongs to this one.",
        )
    return Finding("key", "good", f"The key in the {found.place} is private and fits the store.")


STORE_CLOCK_OFF_US_MAX: Final = 1_000_000
"""A clock that is further off that of the store's server is named."""


@dataclass(frozen=True, slots=True)
class StoreMeasurement:
    """The store: its file as SQLite sees it, or its database on a server.

    Attributes:
        damage: found by SQLite's own check; None for none.
        obstacle: why the file cannot be opened or read, whatever is in it; None where it can.
        form: the revision of its schema. `known`: the revision that this treadle uses. `newer`: it
            is later than that, and this treadle may not open it.
        server: where it is on PostgreSQL, without secrets; None for a file.
        weakness: what its server does worse than the settings ask for; None for nothing.
        clock_ahead: microseconds that the server's clock is ahead of this machine's; None for a
            file.
    """

    exists: bool
    damage: str | None = None
    form: str | None = None
    known: str = ""
    newer: bool = False
    obstacle: str | None = None
    server: str | None = None
    weakness: str | None = None
    clock_ahead: int | None = None


def judge_server(found: StoreMeasurement) -> Finding:
    """Judge whether a store on PostgreSQL can be used."""
    if found.obstacle is not None:
        return Finding(
            "store",
            "bad",
            f"The store in {found.server} cannot be asked: {make_clause(found.obstacle)}.",
            "Known tokens are taken for token_stale_seconds more, nothing is loaded, and a server "
            "does not start. Log, destinations and tables are not examined.",
            "See that one of its servers runs, takes writes, and can be reached from here.",
        )
    if not found.exists:
        return Finding(
            "store",
            "bad",
            f"There is no store in {found.server}.",
            "A server does not start.",
            "Run `treadle init` once, or name the database that has the store.",
        )
    if found.weakness is not None:
        return Finding(
            "store",
            "bad",
            f"The store in {found.server} is weaker than store_durability asks for.",
            "A server does not start.",
            f"{make_clause(found.weakness)[:1].upper()}{make_clause(found.weakness)[1:]}.",
        )
    return Finding("store", "good", f"The store in {found.server} can be used.")


def judge_store_clock(ahead: int | None) -> Iterator[Finding]:
    """Judge the clock of this machine by that of the store's server; nothing where it is right.

    Args:
        ahead: microseconds that the server's clock is ahead; None where there is no server.
    """
    if ahead is None or abs(ahead) <= STORE_CLOCK_OFF_US_MAX:
        return
    yield Finding(
        "clock",
        "odd",
        f"The clock of this machine is {-ahead / 1e6:+.1f} s off that of the store's server.",
        "treadle goes by the store's clock. The times of log lines are those of this machine, and "
        "so is what `treadle push` numbers records by.",
        "Keep both clocks with NTP.",
    )


MEMBER_ROLES: Final = ("ingest", "control", "loader")


@dataclass(frozen=True, slots=True)
class MemberCondition:
    """A process that shares the work of a cluster.

    Attributes:
        member: the name of its server.
        process: its name there.
        role: what it does; several roles with commas.
        release: of treadle: version, newest schema revision, newest form of entries.
        beat_seconds: since it said last that it is there.
        is_live: others take it for one that is there.
    """

    member: str
    process: str
    role: str
    release: tuple[str, str, int]
    beat_seconds: float
    is_live: bool


def judge_members(members: Sequence[MemberCondition]) -> Iterator[Finding]:
    """Judge the members of a cluster; nothing where there are none.

    Args:
        members: those that are there, and those that were lost lately.
    """
    live = [one for one in members if one.is_live]
    if not members:
        return
    roles = {role for one in live for role in one.role.split(",")}
    missing = [role for role in MEMBER_ROLES if role not in roles]
    if live and missing:
        yield Finding(
            "member",
            "bad",
            f"No member runs with the role {' or '.join(missing)}.",
            "Records are not taken without ingest, not loaded without loader, and the Connect API "
            "does not answer without control.",
            "Start a member with that role.",
        )
    replaced = {(one.member, one.process) for one in live}
    lost = [one for one in members if not one.is_live and (one.member, one.process) not in replaced]
    for one in lost:
        yield Finding(
            "member",
            "odd",
            f"{one.process} of {one.member} ({one.role}) was lost {one.beat_seconds:.0f} s ago.",
            "It did not end in order. Others have taken what it had.",
            "Look at its machine and its log.",
        )
    releases = sorted({one.release for one in live})
    if len(releases) > 1:
        versions = ", ".join(sorted({version for version, _, _ in releases}))
        yield Finding(
            "member",
            "odd",
            f"The members are of different releases of treadle ({versions}).",
            "That is so while a cluster is upgraded.",
            "Upgrade the others, and run `treadle upgrade finish`.",
        )
    if live and not missing and not lost and len(releases) == 1:
        servers = len({one.member for one in live})
        yield Finding(
            "member",
            "good",
            f"{count_noun(servers, 'member')} with {count_noun(len(live), 'process', 'processes')} "
            "share the work.",
        )


def judge_store(found: StoreMeasurement) -> Finding:
    """Judge whether the store can be used."""
    is_older = found.form is not None and found.form < found.known
    if found.server is not None and not (found.newer or is_older):
        return judge_server(found)
    if not found.exists:
        return Finding("store", "good", "There is no store yet; the first start makes one.")
    if found.obstacle is not None:
        return Finding(
            "store",
            "bad",
            f"The store cannot be opened: {found.obstacle}.",
            "That says nothing about its content, which may be sound. Log, destinations and tables "
            "are not examined.",
            "Mend that first: it needs a disk that can be written, and the user that the files "
            "belong to. Do not restore a backup for this.",
        )
    if found.damage is not None:
        return Finding(
            "store",
            "bad",
            f"The store is damaged: {found.damage}.",
            "Accounts, tokens and the notes of what was loaded are in it.",
            "Stop treadle and bring it back from a backup; rows and log are not in it.",
        )
    if found.newer:
        return Finding(
            "store",
            "bad",
            f"The store has the form {found.form}, this treadle knows up to {found.known}.",
            "It was made by a newer treadle; this one does not start.",
            "Install that version again.",
        )
    if found.form != found.known:
        return Finding(
            "store",
            "good",
            f"The store has the form {found.form}; the next start brings it to {found.known}.",
        )
    return Finding("store", "good", "The store is sound.")


@dataclass(frozen=True, slots=True)
class LogMeasurement:
    """The log.

    Attributes:
        trouble: what is wrong with its structure; None for nothing.
        known: its id is the one in the store; None if the store has none.
        damaged, sound: numbers of entries; None if they were not read.
        waiting: records that wait. `oldest`: when the oldest was accepted, microseconds since 1970.
    """

    exists: bool
    trouble: str | None = None
    known: bool | None = None
    sound: int | None = None
    damaged: int | None = None
    waiting: int = 0
    oldest: int | None = None


def judge_log(found: LogMeasurement, now: int) -> Iterator[Finding]:
    """Judge whether all that was accepted can be read, and whether loading goes on."""
    if not found.exists:
        if found.known is None:
            yield Finding("log", "good", "There is no log yet; the first start makes one.")
        else:
            yield Finding(
                "log",
                "bad",
                "The log is gone.",
                "What was accepted and not loaded is lost with it; the next start begins another.",
                "Bring it back before treadle is started again.",
            )
        return
    if found.trouble is not None:
        yield Finding(
            "log",
            "bad",
            f"The log is damaged: {found.trouble}.",
            "Parts of what was accepted may not be readable.",
            "Stop treadle and run `treadle log salvage`; a start does the same.",
        )
        return
    if found.known is False:
        yield Finding(
            "log",
            "bad",
            "The log is another one than the store knows.",
            "What the other one holds and was not loaded waits there.",
            "Bring the other one back, unless it was lost and this is its successor.",
        )
    if found.damaged:
        yield Finding(
            "log",
            "bad",
            f"{count_noun(found.damaged, 'entry', 'entries')} of the log "
            f"{'is' if found.damaged == 1 else 'are'} damaged, {found.sound:,} "
            f"{'is' if found.sound == 1 else 'are'} sound.",
            "Damaged entries are never loaded: they are left out and counted as rejected.",
            "`treadle log verify` names them; ask who sent them to send them again.",
        )
    elif found.sound is not None:
        yield Finding("log", "good", f"All entries of the log are sound: {found.sound:,}.")
    age = 0 if found.oldest is None else now - found.oldest
    waiting = count_subject(found.waiting, "record", "waits", "wait")
    if found.waiting and age > WAITING_AGE_MAX_US:
        yield Finding(
            "log",
            "odd",
            f"{waiting}, the oldest for {age / 3.6e9:.1f} hours.",
            "They are safe, and are not in their tables.",
            "See the findings about destinations and tables.",
        )
    else:
        yield Finding("log", "good", f"{waiting} to be loaded.")


def describe_unreadable_log(error: str) -> Finding:
    """Return the finding about a log that cannot be read."""
    return Finding(
        "log",
        "bad",
        f"The log cannot be read: {error}.",
        "A server cannot accept records for its sources.",
        "Do what the message says.",
    )


def judge_log_server(
    place: str, refusals: Sequence[str], warnings: Sequence[str]
) -> Iterator[Finding]:
    """Judge whether a server of logs on PostgreSQL keeps what it takes.

    Args:
        place: the server and its database.
        refusals: why it does not, for the durability of the settings.
        warnings: what an operator should know.
    """
    for refusal in refusals:
        yield Finding(
            "log server",
            "bad",
            f"{place}: {refusal}.",
            "Acknowledged records can be lost, and treadle does not start with it.",
            "Do what the message says.",
        )
    for warning in warnings:
        yield Finding("log server", "odd", f"{place}: {warning}.")
    if not (refusals or warnings):
        yield Finding("log server", "good", f"{place} keeps what it takes.")


def judge_loaders(loaders: int, units: int, unheld: int) -> Finding | None:
    """Judge whether every table has a loader, where any runs; None where none does.

    Args:
        loaders: that are live.
        units: parts of the tables.
        unheld: those of them that no live loader has.
    """
    if not loaders:
        return None
    running = count_noun(loaders, "loader")
    if not unheld:
        return Finding("loaders", "good", f"Each part of the tables has one of {running}.")
    return Finding(
        "loaders",
        "bad",
        f"{unheld} of the {units} parts of the tables have no loader; {running} run.",
        "What waits in their tables is not loaded. For ten seconds after a loader was lost that is "
        "usual.",
        "Look again in ten seconds; if it is still so, see what the loaders say in their lines.",
    )


# --- destinations and tables ----------------------------------------------------------------------


def judge_destination(found: RehearsalResult) -> Finding:
    """Judge whether a destination can be reached, and whether treadle may load into it."""
    said = describe_rehearsal(found)
    if found.missing or found.fault is None:
        return Finding("destination", "good", said)
    if found.may_pass:
        return Finding(
            "destination",
            "bad",
            said,
            "Records are accepted and wait; loading is tried again by itself.",
            "Start it, make room in it, or close what holds it.",
        )
    return Finding(
        "destination",
        "bad",
        said,
        "Records are accepted and wait until somebody acts.",
        "Give its user the right it lacks, or mend the URL in the settings.",
    )


def judge_load_age(name: str, given: float | None, capabilities: Capabilities) -> Finding | None:
    """Judge how often tables are loaded where each load has its price; None for well.

    Args:
        name: of the destination.
        given: seconds of the setting; None where nobody set it.
        capabilities: of the destination.
    """
    wanted = capabilities.load_age_seconds
    does, meaning = capabilities.load_price
    if given is None or wanted is None or given >= wanted / HASTY_PART:
        return None
    return Finding(
        "destination",
        "odd",
        f"load_age_seconds is {given:g}, and each load into {name} {does}.",
        f"{meaning}; {wanted:g} is usual here.",
        "Raise --load-age-seconds, or leave it out.",
    )


def judge_crowded(name: str, tables: Sequence[CrowdedTable]) -> Finding | None:
    """Judge tables that have come to too many files; None for none."""
    if not tables:
        return None
    most = tables[0]
    return Finding(
        "destination",
        "odd",
        f"{count_noun(len(tables), 'table')} of {name} with many small files; {most.name} has "
        f"{most.files}.",
        "Whoever reads them opens all of these, and so does each load.",
        "Look in the log of the loader for why they are not compacted, or compact them by a tool.",
    )


def judge_query_role(name: str, role: str, dangerous: Sequence[str]) -> Finding:
    """Judge the role that runs statements of people in a destination.

    Args:
        name: of the destination.
        role: of the database.
        dangerous: rights by which a statement that only reads reaches the machine of the database.
    """
    if not dangerous:
        return Finding("query", "good", f"The role {role} of {name} may run statements of people.")
    return Finding(
        "query",
        "odd",
        f"The role {role} of {name} is {' and '.join(dangerous)}.",
        "No statement of the holder of an account token is run with it: one could read files and "
        "run programs on the machine of the database.",
        "Give treadle a role without that right, or name another one in query_url, or set "
        "console_query to off.",
    )


def judge_missing_query_role(name: str, fault: str) -> Finding:
    """Judge a role for statements that cannot be used."""
    return Finding(
        "query",
        "odd",
        f"The role for statements in the destination {name} cannot be used: {fault}.",
        "Statements of holders of account tokens fail; loading goes on.",
        "Mend the URL in query_url, or that of `treadle destination update --role-url-file`.",
    )


@dataclass(frozen=True, slots=True)
class FailedTable:
    """A table whose last load failed.

    Attributes:
        source: its name.
        table: as named in pushes.
        error: of the load.
        stopped: nothing is loaded until its keys, or its table, are changed.
        denied: a right is missing; the error says which statement gives it.
    """

    source: str
    table: str
    error: str
    stopped: bool
    denied: bool = False


def _suggest_remedy(error: str) -> str:
    """Return what to do about a stopped table. Errors about keys do not say it themselves."""
    if error.startswith(KEYS_DIFFER):
        return (
            "Records came with other key names than the table's. Append them with `treadle source "
            "options SOURCE key_change=append --table TABLE`, or drop the table, to have it made "
            "anew with their key; it is tried again by itself."
        )
    if error.startswith(KEY_TYPE_DIFFERS):
        return (
            "A key came with another type than the table's has. Have such records rejected with "
            "`treadle source options SOURCE key_types=reject --table TABLE`, or drop the table, to "
            "have it made anew with that type; it is tried again by itself."
        )
    return "Do what the message says; it is tried again by itself."


def judge_table(found: FailedTable) -> Finding:
    """Judge a table whose last load failed."""
    if found.stopped:
        remedy = _suggest_remedy(found.error)
    elif found.denied:
        remedy = "Give treadle's user the right that it lacks; the load is tried again by itself."
    else:
        remedy = "It is tried again by itself; act if this stays."
    return Finding(
        "table",
        "bad" if found.stopped or found.denied else "odd",
        f"{found.table} of {found.source} {'is stopped' if found.stopped else 'failed to load'}: "
        f"{found.error}",
        "Its records wait, those of other tables load.",
        remedy,
    )


# --- mails ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MailMeasurement:
    """The mails about problems.

    Attributes:
        recipients: addresses that are enabled.
        waiting: mails that are to be sent.
        failed: mails that were given up in the last month.
        why: the last mail was not sent; None where nothing is known against it.
    """

    recipients: int
    waiting: int = 0
    failed: int = 0
    why: str | None = None


def judge_mails(found: MailMeasurement, smtp_url: str | None) -> Iterator[Finding]:
    """Judge whether recipients get their mails; nothing is found where there are none."""
    if found.recipients and smtp_url is None:
        yield Finding(
            "mail",
            "odd",
            f"{count_subject(found.recipients, 'recipient', 'is', 'are')} stored, and nothing is "
            "sent: no smtp_url.",
            "Nobody is told of problems by mail.",
            "Set smtp_url, or remove the recipients.",
        )
    elif found.failed or (found.waiting and found.why):
        yield Finding(
            "mail",
            "odd",
            end_sentence(
                f"{count_subject(found.waiting, 'mail', 'waits', 'wait')} and {found.failed} "
                f"{'was' if found.failed == 1 else 'were'} given up: {found.why}"
            ),
            "Recipients are told of problems late or not at all.",
            "Mend smtp_url, or the addresses that `treadle recipient list` shows.",
        )
    elif found.recipients:
        told = count_subject(found.recipients, "recipient", "is", "are")
        yield Finding("mail", "good", f"{told} told of problems.")


@dataclass(frozen=True, slots=True)
class RejectingTable:
    """A table whose last load rejected what somebody should know of.

    Attributes:
        trouble: what was rejected, and why.
        everything: no record of the load became a row.
    """

    source: str
    table: str
    trouble: str
    everything: bool


def judge_rejecting_table(found: RejectingTable) -> Finding:
    """Judge a table that rejects all records, or records for the type of their key."""
    return Finding(
        "table",
        "bad" if found.everything else "odd",
        end_sentence(f"{found.table} of {found.source}: {found.trouble}"),
        "They are in _sdc_rejected, and not in the table; their sender was told that they were "
        "accepted.",
        "Look at them with `treadle rejects list`, have the sender mend what it sends, and send "
        "them again with `treadle rejects resend`.",
    )


HOOK_WAITING_MAX: Final = 10_000
"""Beyond so many waiting deliveries of a hook somebody has to act (connect-rest.md A.2.6)."""


@dataclass(frozen=True, slots=True)
class HookCondition:
    """The deliveries of a post-load hook.

    Attributes:
        waiting: deliveries that wait.
        failed: deliveries that were given up; 1 stands for any number.
        error: why the last one of these was.
        paused: it is paused, so that they wait for somebody.
    """

    id: int
    waiting: int
    failed: int
    error: str | None
    paused: bool


def judge_hook(found: HookCondition) -> Finding | None:
    """Judge whether a hook gets its deliveries; None if it does."""
    if found.waiting >= HOOK_WAITING_MAX:
        return Finding(
            "hook",
            "bad",
            f"{found.waiting} deliveries of hook {found.id} wait"
            + (": it is paused." if found.paused else "."),
            "Its receiver is not told of loads; beyond 100,000 deliveries the oldest are removed.",
            f"See `treadle hook deliveries {found.id}`, and mend, unpause or delete it.",
        )
    if found.failed:
        return Finding(
            "hook",
            "odd",
            end_sentence(f"A delivery of hook {found.id} was given up: {found.error}"),
            "Its receiver was not told of a load.",
            f"When the receiver is mended, run `treadle hook send-again {found.id}`.",
        )
    return None


# --- sources --------------------------------------------------------------------------------------

NAMES_SHOWN: Final = 5


def judge_paused_sources(names: Sequence[str]) -> Finding | None:
    """Judge that sources are paused; None where none is."""
    if not names:
        return None
    return Finding(
        "source",
        "odd",
        f"The source {names[0]} is paused."
        if len(names) == 1
        else f"{len(names)} sources are paused: {_list_names(names)}.",
        "What is pushed to them is refused with 401; nothing of it is kept.",
        "Run `treadle source unpause SOURCE` when they are to be filled again.",
    )


@dataclass(frozen=True, slots=True)
class RejectionCount:
    """The rejected records of a table in the last day."""

    source: str
    table: str
    records: int


def judge_rejections(found: Sequence[RejectionCount]) -> Finding:
    """Judge the records that were rejected in the last day."""
    if not found:
        return Finding("rejects", "good", "No record was rejected in the last day.")
    records = sum(one.records for one in found)
    most = sorted(found, key=lambda one: (-one.records, one.source, one.table))
    tables = [f"{one.table} of {one.source} ({one.records:,})" for one in most]
    what = count_subject(records, "record", "was", "were")
    return Finding(
        "rejects",
        "odd",
        f"{what} rejected in the last day: {_list_names(tables)}.",
        "They are in _sdc_rejected, and not in their tables; their sender was told that they were "
        "accepted.",
        "`treadle rejects causes` says why.",
    )


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class PublicationMeasurement:
    """The copy of the DuckDB file for readers.

    Attributes:
        target: where it is.
        age_seconds: how old its rows are; None before the first copy.
        error: why no newer one can be made; None where one can.
    """

    target: str
    age_seconds: float | None
    error: str | None


def judge_publication(found: PublicationMeasurement) -> Finding:
    """Judge whether readers get new rows."""
    age = found.age_seconds
    shown = (
        "The copy for readers was not made yet."
        if age is None
        else f"The copy for readers {found.target} has the rows of {age:.0f} s ago."
    )
    if found.error is None:
        return Finding("publication", "good", shown)
    return Finding(
        "publication",
        "odd",
        f"{shown} No newer one can be made: {end_sentence(found.error)}",
        "Rows are loaded, and readers of the copy do not see the new ones.",
        "Do what the message says; it is tried again by itself.",
    )
