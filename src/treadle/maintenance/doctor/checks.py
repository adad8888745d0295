"""The table of checks of `treadle doctor`, each after the checks that it depends on.

To add a check, write a value and its rule in `findings`, its measurement in `measurements`, and a
row in `CHECKS` that puts the two together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from treadle.clock import read_clock, read_system_clock
from treadle.config import Config, OperatorWarning
from treadle.data_lock import find_server, is_lock_taken
from treadle.destinations.known_kinds import ROLE_TYPES
from treadle.destinations.registry import find_type, make_destination
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.destinations.transport import find_transport_risk
from treadle.errors import TreadleError
from treadle.load_locks import use_locks
from treadle.log.protocol import LogInfo, LogReader, LogState
from treadle.log.registry import InstallationDirectory, list_log_files, name_log_file
from treadle.log.remote_registry import find_remote_faults, name_remote_place
from treadle.maintenance.doctor import findings, measurements
from treadle.maintenance.doctor.findings import Finding
from treadle.store.advisory_locks import choose_locks
from treadle.store.key_files import load_cipher
from treadle.store.model import ConfiguredDestination, Source
from treadle.store.store import Store
from treadle.text import make_clause
from treadle.traces.publication_note import read_publication


@dataclass
class Examination:
    """One run of the checks: what they examine, and what several of them need.

    Attributes:
        config: the settings of the server, which may run or not.
        open_reader: opens a log of the data folder by its number; called only if it exists.
        find_log_damage: says what is wrong with the structure of a log; None for nothing.
        whole: read every entry of the log.
        now: microseconds since 1970.
        warnings: found while the settings were read.
        check_address: raises for an address that the server does not connect to when an account
            names it; None for no rule.
        report_entries: called now and then with the entries of the log that were read.
    """

    config: Config
    open_reader: Callable[[int], LogReader]
    find_log_damage: Callable[[int], str | None]
    whole: bool
    now: int
    warnings: Sequence[OperatorWarning] = ()
    check_address: Callable[[str], None] | None = None
    report_entries: Callable[[int], None] = lambda entries: None

    @cached_property
    def store_file(self) -> tuple[findings.StoreMeasurement, str | None, int | None]:
        """The store, the check value of its key, and the latest time that it contains."""
        return measurements.measure_store(self.config)

    @cached_property
    def key(self) -> Finding:
        """The finding about the key."""
        return findings.judge_key(measurements.measure_key(self.config, self.store_file[1]))

    @cached_property
    def store(self) -> Store | None:
        """The open store; None if it cannot be opened without repair or migration."""
        file = self.store_file[0]
        sound = file.exists and file.damage is None and file.obstacle is None
        # A newer one may allow this release.
        sound = sound and not file.newer and (file.form or "") >= file.known
        if not sound or self.key.level != "good":
            return None
        config = self.config
        cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
        use_locks(choose_locks(config.store_url, config.turns_path))  # for rehearsals
        return Store.open(self.config.store_url, cipher)

    def close(self) -> None:
        """Close the store if a check opened it."""
        store: Store | None = vars(self).get("store")
        if store is not None:
            store.close()


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check.

    Attributes:
        name: the subject of its findings.
        question: that it answers.
        run: measures and judges.
    """

    name: str
    question: str
    run: Callable[[Examination], Iterable[Finding]]


def examine(
    config: Config,
    open_reader: Callable[[int], LogReader],
    find_log_damage: Callable[[int], str | None],
    *,
    whole: bool = True,
    warnings: Sequence[OperatorWarning] = (),
    check_address: Callable[[str], None] | None = None,
    report_check: Callable[[str], None] = lambda name: None,
    report_entries: Callable[[int], None] = lambda entries: None,
) -> Iterator[Finding]:
    """Run every check, and yield each finding as soon as it is known.

    Args:
        config: the settings of the server, which may run or not.
        open_reader: opens a log of the data folder by its number; called only if it exists.
        find_log_damage: says what is wrong with the structure of a log; None for nothing.
        whole: read every entry of the log.
        warnings: found while the settings were read.
        check_address: see `Examination`.
        report_check: called with the name of each check before it runs.
        report_entries: see `Examination`.
    """
    with closing(
        Examination(
            config,
            open_reader,
            find_log_damage,
            whole,
            read_clock(),
            warnings,
            check_address,
            report_entries,
        )
    ) as examination:
        for check in CHECKS:
            report_check(check.name)
            yield from check.run(examination)


def check_server(examination: Examination) -> Iterator[Finding]:
    """Find out whether a server runs."""
    config = examination.config
    try:
        taken = is_lock_taken(config.lock_path)
        serving = find_server(config.lock_path)
    except OSError as error:
        yield Finding(
            "server",
            "odd",
            f"Whether a server runs on {config.data} cannot be seen: {error.strerror}.",
            "The lock file cannot be opened.",
            "Run this as the user that treadle runs as, on a disk that can be written.",
        )
        return
    yield Finding(
        "server",
        "good",
        findings.describe_server(
            str(config.data),
            taken=taken,
            process=None if serving is None else serving.process,
            address=None if serving is None else serving.shown,
        ),
    )


def check_certificate(examination: Examination) -> Iterator[Finding]:
    """Examine the certificate, if the settings name one."""
    config = examination.config
    if config.tls_cert is not None or config.tls_key is not None:
        found = measurements.measure_certificate(config)
        yield findings.judge_certificate(found, examination.now)


def check_publication(examination: Examination) -> Iterator[Finding]:
    """Examine the copy for readers, if there is to be one."""
    note = read_publication(examination.config.publication_path)
    if note is not None:
        age = None if note.at is None else max(0, examination.now - note.at) / 1e6
        yield findings.judge_publication(
            findings.PublicationMeasurement(note.target, age, note.error)
        )


def check_log(examination: Examination) -> Iterator[Finding]:
    """Examine the structure of each log and, with `whole`, every entry."""
    if examination.store_file[0].obstacle is not None:
        return  # the logs beside it have the same
    config, store = examination.config, examination.store
    directory = InstallationDirectory(config, None if store is None else store.logs)
    known = {one.number: one for one in directory.list_logs()}
    closed = {number for number, one in known.items() if one.state is LogState.CLOSED}
    for number in sorted({*known, *list_log_files(config)} - closed):
        log = known.get(number)
        if log is not None and log.url:
            found = _check_remote_log(examination, directory, log)
        else:
            found = _check_one_log(examination, number, log.log_id if log and store else None)
        for finding in found:
            yield replace(finding, subject=f"log {number}") if number else finding
    urls = dict.fromkeys(one.url for one in known.values() if one.url and one.number not in closed)
    for url in urls:
        yield from _check_log_server(config, url)


def _check_remote_log(
    examination: Examination, directory: InstallationDirectory, log: LogInfo
) -> Iterator[Finding]:
    try:
        with closing(directory.open_reader(log.number)) as reader:
            measured = measurements.measure_log(
                reader, log.log_id, whole=examination.whole, report=examination.report_entries
            )
            yield from findings.judge_log(measured, examination.now)
    except TreadleError as error:
        yield findings.describe_unreadable_log(str(error))


def _check_log_server(config: Config, url: str) -> Iterator[Finding]:
    """Find out whether the server of logs keeps what it takes, if it can be asked."""
    place = name_remote_place(url)
    try:
        found = find_remote_faults(url, config.log_durability)
    except TreadleError:
        return  # said of its logs
    yield from findings.judge_log_server(place, found.refusals, found.warnings)


def _check_one_log(examination: Examination, number: int, log_id: str | None) -> Iterator[Finding]:
    path, now = name_log_file(examination.config, number), examination.now
    if not (path.exists() and path.stat().st_size):
        missing = findings.LogMeasurement(exists=False, known=False if log_id else None)
        yield from findings.judge_log(missing, now)
        return
    try:
        found = examination.find_log_damage(number)
        if found is not None:
            damaged = findings.LogMeasurement(exists=True, trouble=found)
            yield from findings.judge_log(damaged, now)
            return
        with closing(examination.open_reader(number)) as reader:
            measured = measurements.measure_log(
                reader, log_id, whole=examination.whole, report=examination.report_entries
            )
            yield from findings.judge_log(measured, now)
    except TreadleError as error:
        yield findings.describe_unreadable_log(str(error))


def check_destinations(examination: Examination) -> Iterator[Finding]:
    """Rehearse a load in every destination, or in the one of the settings without a store."""
    config, store = examination.config, examination.store
    if store is None:
        if not examination.store_file[0].exists:
            yield from _check_destination(examination, config.destination_url, [])
        return
    sources = [source for source in store.sources.list_sources() if source.deleted_at is None]
    of_source = store.destinations.list_ids_by_source()
    rows = [row for row in store.destinations.list_destinations() if row.deleted_at is None]
    defaults = {account.destination_id for account in store.accounts.list_accounts()}
    used = defaults | set(of_source.values())
    # One finding for a database, however many accounts load into it.
    places: dict[tuple[str, bool], list[Source]] = {}
    for row in rows:
        if row.id not in used:
            continue
        its = [source for source in sources if of_source.get(source.id) == row.id]
        # At its start the server takes the default destination from the settings.
        if config.destination and row.id in defaults:
            places.setdefault((config.destination, False), []).extend(its)
        else:
            places.setdefault((row.url, row.is_named_by_account), []).extend(its)
    for (url, is_named), its in places.items():
        check = examination.check_address if is_named else None
        yield from _check_destination(examination, url, its, check)
    stranded = len(store.destinations.list_stranded_sources())
    if stranded:
        have = "source has" if stranded == 1 else "sources have"
        yield Finding(
            "destination",
            "bad",
            f"{stranded} {have} no destination.",
            "What they send is accepted and waits.",
            "Make one with `treadle destination create`, or with POST /v4/destinations.",
        )


def _check_destination(
    examination: Examination,
    url: str,
    sources: list[Source],
    check_address: Callable[[str], None] | None = None,
) -> Iterator[Finding]:
    try:
        destination = make_destination(url, check_address)
    except TreadleError as error:
        fault = make_clause(str(error))
        yield findings.judge_destination(RehearsalResult("The destination", (), fault=fault))
        return
    risk = find_transport_risk(destination)
    if risk is not None:
        yield Finding("destination", "odd", risk.found, risk.meaning, risk.remedy)
    found, there = measurements.rehearse_load(
        examination.config,
        destination,
        sources,
        examination.now,
        "" if examination.store is None else examination.store.installation_id,
    )
    yield findings.judge_destination(found)
    if there is not None:
        off = findings.judge_destination_clock(destination.identity, read_clock(), there)
        if off is not None:
            yield off
    hasty = findings.judge_load_age(
        destination.identity,
        examination.config.load_age_seconds,
        destination.capabilities,
    )
    if hasty is not None:
        yield hasty
    if found.fault is None and not found.missing:
        crowded = findings.judge_crowded(
            destination.identity, measurements.measure_crowded(destination)
        )
        if crowded is not None:
            yield crowded


def check_query_roles(examination: Examination) -> Iterator[Finding]:
    """Find out whether statements of people can be run with the roles that are there for them."""
    config, store = examination.config, examination.store
    if config.console_query == "off" or store is None:
        return
    of_source = store.destinations.list_ids_by_source()
    used = {account.destination_id for account in store.accounts.list_accounts()}
    used |= set(of_source.values())
    asked: dict[str, ConfiguredDestination] = {}
    for row in store.destinations.list_destinations():
        if row.deleted_at is None and row.id in used and row.type in ROLE_TYPES:
            asked.setdefault(_find_role_url(row, config.query_url) or row.url, row)
    for url, row in asked.items():
        check = examination.check_address if url == row.url and row.is_named_by_account else None
        try:
            destination = make_destination(url, check)
            rights = measurements.measure_query_role(destination)
        except TreadleError as error:
            if url != row.url:  # otherwise the check of the destination says so
                yield findings.judge_missing_query_role(row.name, make_clause(str(error)))
            continue
        if rights is not None:
            yield findings.judge_query_role(destination.identity, rights.role, rights.dangerous)


def _find_role_url(row: ConfiguredDestination, setting: str | None) -> str | None:
    """Return the URL of the role that runs statements in a destination; None for that which loads.

    Args:
        row: the destination.
        setting: the URL of the setting `query_url`.
    """
    if row.query_url is None and row.is_held and find_type(setting or "") == row.type:
        return setting
    return row.query_url


def _list_sources(store: Store) -> list[Source]:
    """Return the sources that are not deleted."""
    return [source for source in store.sources.list_sources() if source.deleted_at is None]


def check_tables(examination: Examination) -> Iterator[Finding]:
    """Find the tables whose last load failed, or rejected what somebody should know of."""
    store = examination.store
    if store is None:
        return
    names = {source.id: source.name for source in _list_sources(store)}
    for status in store.tables.list_statuses():
        if status.error is not None and status.source_id in names:
            yield findings.judge_table(
                findings.FailedTable(
                    names[status.source_id],
                    status.table_name,
                    status.error,
                    status.stopped,
                    status.denied,
                )
            )
        elif status.trouble is not None and status.source_id in names:
            load = store.loads.find_covering_load(
                status.source_id, status.table_name, status.loaded
            )
            yield findings.judge_rejecting_table(
                findings.RejectingTable(
                    names[status.source_id],
                    status.table_name,
                    status.trouble,
                    everything=load is not None and load.rows_rejected == load.rows_received,
                )
            )


def check_folder(examination: Examination) -> Iterator[Finding]:
    """Find out whether the data folder is one of treadle, and whether its files can be used."""
    config = examination.config
    kept = config.store_path if config.store is None else config.key_path
    is_used = kept.exists() or config.log_path.exists()
    missing = findings.judge_folder(str(config.data), exists=config.data.exists(), is_used=is_used)
    if missing is not None:
        yield missing
    yield from findings.judge_files(
        measurements.measure_files(config), read_only=measurements.is_read_only(config.data)
    )


def check_sources(examination: Examination) -> Iterator[Finding]:
    """Find sources that are paused, and records that were rejected in the last day."""
    store = examination.store
    if store is None:
        return
    sources = _list_sources(store)
    names = {source.id: source.name for source in sources}
    paused = findings.judge_paused_sources([source.name for source in sources if not source.active])
    if paused is not None:
        yield paused
    counts = store.loads.count_rejections(examination.now - findings.DAY_US)
    yield findings.judge_rejections(
        [
            findings.RejectionCount(names[source_id], table, records)
            for source_id, table, records in counts
            if source_id in names
        ]
    )


def check_mails(examination: Examination) -> Iterator[Finding]:
    """Find out whether recipients get their mails."""
    store = examination.store
    if store is None:
        return
    enabled = [one for one in store.recipients.list_recipients() if one.disabled_at is None]
    measured = findings.MailMeasurement(len(enabled), *store.notices.find_mail_counts())
    yield from findings.judge_mails(measured, examination.config.smtp_url)


def check_hooks(examination: Examination) -> Iterator[Finding]:
    """Find the hooks whose deliveries do not arrive."""
    if examination.store is None:
        return
    for condition in measurements.measure_hooks(examination.store):
        found = findings.judge_hook(condition)
        if found is not None:
            yield found


def check_clock(examination: Examination) -> Iterator[Finding]:
    """Find out whether the clock was set back, or is not that of the store's server."""
    file, _, newest = examination.store_file
    now = examination.now
    if file.clock_ahead is not None:  # what is newest was noted by the server's clock
        now = read_system_clock() + file.clock_ahead
    yield findings.judge_clock(now, newest)
    yield from findings.judge_store_clock(file.clock_ahead)


def check_members(examination: Examination) -> Iterator[Finding]:
    """Find out whether the members of a cluster are there, and of one release."""
    if examination.store is not None:
        yield from findings.judge_members(measurements.measure_members(examination.store))


def check_loaders(examination: Examination) -> Iterator[Finding]:
    """Find out whether every table has a loader."""
    config = examination.config
    # With a file those that were killed are listed until the next start.
    if examination.store is None or (config.store is None and not is_lock_taken(config.lock_path)):
        return
    counts = examination.store.units.count_units()
    found = findings.judge_loaders(counts.loaders, counts.units, counts.unheld)
    if found is not None:
        yield found


CHECKS: Final = (
    DoctorCheck("server", "Does a server run on the data folder?", check_server),
    DoctorCheck(
        "disk",
        "Is what is acknowledged safe, and is there room?",
        lambda its: findings.judge_disk(measurements.measure_disk(its.config), its.config),
    ),
    DoctorCheck(
        "files",
        "May treadle use its files, and nobody else?",
        check_folder,
    ),
    DoctorCheck(
        "system",
        "May enough files be open at once?",
        lambda _: [findings.judge_open_files(measurements.read_open_files_limit())],
    ),
    DoctorCheck(
        "settings",
        "Is a setting allowed that is seldom meant?",
        lambda its: findings.judge_settings(
            its.config, measurements.measure_machine(its.config), its.warnings
        ),
    ),
    DoctorCheck(
        "certificate", "Can the server use its certificate, and for how long?", check_certificate
    ),
    DoctorCheck("clock", "Was the clock set back?", check_clock),
    DoctorCheck(
        "store", "Can the store be used?", lambda its: [findings.judge_store(its.store_file[0])]
    ),
    DoctorCheck("key", "Is the key there, private, and the store's?", lambda its: [its.key]),
    DoctorCheck(
        "member", "Are all members of the cluster there, and of one release?", check_members
    ),
    DoctorCheck("log", "Is what was accepted there and readable, and does it move?", check_log),
    DoctorCheck("loaders", "Has each table a loader?", check_loaders),
    DoctorCheck(
        "destination", "Can it be reached, and may treadle do what a load does?", check_destinations
    ),
    DoctorCheck("query", "Can statements of people be run without harm?", check_query_roles),
    DoctorCheck("table", "Which tables do not load or reject records, and why?", check_tables),
    DoctorCheck(
        "source", "Which sources are paused, and what was rejected in the last day?", check_sources
    ),
    DoctorCheck("mail", "Do recipients get their mails?", check_mails),
    DoctorCheck("hook", "Which hooks are not told of loads, and why?", check_hooks),
    DoctorCheck("publication", "Do readers of the copy get new rows?", check_publication),
)
"""Every check. The `its` of a row is the `Examination`."""
