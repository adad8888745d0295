"""Prepares the data folder before the server's processes start: the first account, a sound log."""

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from treadle.clock import read_clock
from treadle.config import Config, OperatorWarning, is_loopback, mask_password
from treadle.destinations.duckdb_form import move_url
from treadle.destinations.registry import make_destination
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, RetriableError
from treadle.files import write_private_file
from treadle.log.protocol import FIRST_LOG, LogState
from treadle.log.registry import (
    InstallationDirectory,
    name_log_file,
    open_file,
    repair_log,
)
from treadle.log.remote_registry import check_remote_log, name_remote_place
from treadle.log.salvage_report import KnownLog
from treadle.server.cluster_rules import find_company_risk, require_shared_logs
from treadle.server.factories import open_store
from treadle.server.member_identity import take_place
from treadle.server.own_files import require_other_file
from treadle.store.model import Account, DestinationSetter
from treadle.store.secrets import mint_token
from treadle.store.store import Store
from treadle.store.token_rules import ACCOUNT, PREFIXES
from treadle.store.trail_event import TargetKind, TrailAction, TrailOutcome, TrailTarget
from treadle.tasks.file_copy import refuse_other_content
from treadle.tracking.member_list import shorten_place

logger = logging.getLogger("treadle.server")

FIRST_ACCOUNT_NAME: Final = "default"

FOLDER_SCHEMES: Final = ("duckdb://", "files://")
"""How URLs of files of this machine begin."""


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """The account that was made with a new store.

    Attributes:
        token: of the account. It is never printed: what the server prints may end in a journal, or
            in the log of a container.
        token_path: the file with the token, which only the user who runs treadle may read.
    """

    account: Account
    token: str = field(repr=False)
    token_path: Path


def find_risks(config: Config, user: int) -> Iterator[OperatorWarning]:
    """Find risks that an operator may have overlooked.

    Args:
        config: the settings.
        user: the number of the user that the server runs as.
    """
    if user == 0:
        # A warning only: the user of most containers is root, who is nobody outside of them.
        yield OperatorWarning(
            "The server runs as root.",
            "A fault in it is a fault of the whole machine.",
            "Run it as a user of its own.",
        )
    if (
        config.socket_path is None
        and config.tls_cert is None
        and not is_loopback(config.host)  # `check_transport` refuses it unless it is meant
    ):
        yield OperatorWarning(
            f"The server listens at {config.host} without TLS.",
            "Whoever can read the traffic reads tokens and records.",
            "Set tls_cert and tls_key, or let a proxy with TLS listen there.",
        )
    yield from find_publication_risks(config)
    if (config.partner_id is None) != (config.partner_secret is None):
        missing = "partner_id" if config.partner_id is None else "partner_secret"
        yield OperatorWarning(
            f"The setting {missing} is missing.",
            "POST /v3/accounts needs both the id and the secret of the partner, and is not served.",
            f"Set {missing}, or remove the other one.",
        )
    if config.destination is not None:
        risk = find_transport_risk(make_destination(config.destination))
        if risk is not None:
            yield OperatorWarning(risk.found, risk.meaning, risk.remedy)


def find_publication_risks(config: Config) -> Iterator[OperatorWarning]:
    """Find out why the copy for readers of the setting `publish` will not be made.

    Raises:
        OperatorError: it would take the place of another file, such as that which rows are loaded
            into.
    """
    if config.publish is None:
        return
    if read_file_path(config.destination_url) is None:
        yield OperatorWarning(
            "publish is set, and rows are not loaded into a DuckDB file.",
            "Nothing is published: readers of a server do not keep loading waiting.",
            "Remove publish.",
        )
        return
    if read_file_path(config.destination_url) == config.publish.resolve():
        raise OperatorError(
            f"publish is {config.publish}, the file that rows are loaded into; name another file, "
            "which the copy for readers is to be."
        )
    require_other_file("publish", config.publish, config.data)
    with contextlib.suppress(OSError):  # each copy looks again, and says why it cannot be made
        refuse_other_content(config.publish)
    if not config.publish.parent.is_dir():
        yield OperatorWarning(
            f"The folder {config.publish.parent} of publish is missing.",
            "No copy for readers can be made.",
            "Make the folder, writable for the user treadle runs as.",
        )
    elif config.publish.suffix == ".duckdb" and config.publish.resolve().is_relative_to(
        config.duckdb_path.resolve()
    ):
        yield OperatorWarning(
            f"publish is {config.publish}, in the folder of the DuckDB files that accounts name.",
            "The rows of an account that names this file are lost with the next copy.",
            "Name a file in another folder, which readers may open.",
        )


def refuse_published_destination(publish: Path | None, urls: Iterable[str]) -> None:
    """Refuse a file for readers that is a destination.

    Args:
        publish: the setting.
        urls: of destinations.

    Raises:
        OperatorError: it is the file of one.
    """
    for url in urls:
        if publish is not None and read_file_path(url) == publish.resolve():
            raise OperatorError(
                f"publish is {publish}, the file of a destination, whose rows would be lost with "
                "the next copy; name another file, which the copy for readers is to be."
            )


def read_file_path(url: str) -> Path | None:
    """Return the DuckDB file that a URL of a destination names; None where it names none."""
    scheme, _, path = url.partition("://")
    return Path(unquote(path)).absolute().resolve() if scheme.lower() == "duckdb" else None


def require_durability(config: Config, store: Store) -> None:
    """Refuse a store whose server forgets what was committed, unless the settings allow that.

    Raises:
        OperatorError: the server is weaker than the setting `store_durability` says.
    """
    found = store.read_durability()
    if found is None:
        return
    from treadle.store.postgres import find_weakness

    weakness = find_weakness(found, config.store_durability)
    if weakness is not None:
        raise OperatorError(weakness)


def find_clock_risk(now: int, newest: int | None) -> OperatorWarning | None:
    """Find out whether the clock was set back since the server noted something last.

    Args:
        now: microseconds since 1970.
        newest: the latest time in the store; None for none.
    """
    if newest is None or newest <= now:
        return None
    from treadle.maintenance.doctor.findings import judge_clock  # a start seldom needs it

    found = judge_clock(now, newest)
    if found.level == "good":
        return None
    return OperatorWarning(found.found, found.meaning, found.remedy)


def set_up_store(config: Config) -> FirstAccount | None:
    """Make the store if there is none; return the first account if it was made now.

    A store on PostgreSQL has to be there: `treadle init` makes it.
    Warns where the clock was set back since the store was used last.

    Each account gets the destination of the settings. Without that setting, what was named by
    `treadle destination` or the Connect API stays, and an account that never had a destination gets
    the file of the data folder, which follows the folder (connect-rest.md A.2.2).
    """
    with contextlib.closing(open_store(config)) as store:
        require_durability(config, store)
        risk = find_clock_risk(store.read_time() or read_clock(), store.loads.find_newest_time())
        if risk is not None:
            logger.warning("%s", risk)
        take_place(config, store.members)
        if config.store is not None:
            others = [one.member.place for one in store.members.list_members() if one.is_live]
            company = find_company_risk(config, map(shorten_place, others))
            if company is not None:
                logger.warning("%s", company)
        if config.in_cluster:  # accounts and destinations are the store's, not this machine's
            require_shared_logs(",".join(config.role), store.logs.list_logs())
            return None
        newcomer = None
        if not store.accounts.list_accounts():
            newcomer = _make_first_account(config, store)
        if config.destination is None:
            store.destinations.release_destinations()
        _follow_folder(config, store)
        _set_defaults(config, store)
        rows = store.destinations.list_destinations()
        refuse_published_destination(
            config.publish, [row.url for row in rows if row.deleted_at is None]
        )
        return newcomer


def _set_defaults(config: Config, store: Store) -> None:
    """Give accounts the destination of the settings, or the file of the data folder."""
    destination = make_destination(config.destination_url)
    rows = store.destinations.list_destinations()
    defaults = {account.id: account.destination_id for account in store.accounts.list_accounts()}
    by_id = {row.id: row for row in rows}
    chosen = [
        account_id
        for account_id, default_id in defaults.items()
        if config.destination is not None
        or all(row.account_id != account_id for row in rows)
        or (default_id in by_id and by_id[default_id].set_by == DestinationSetter.DATA_FOLDER)
    ]
    former = {
        _identify_destination(by_id[default_id].url)
        for account_id in chosen
        if (default_id := defaults[account_id]) in by_id
    }
    for place in sorted(former - {destination.identity}):
        logger.warning(
            "from now on rows go to %s and no longer to %s, where what was loaded stays; "
            "name the old place with --destination to go back",
            destination.identity,
            place,
        )
    setting = config.destination is not None
    for account_id in chosen:
        store.destinations.set_default_destination(
            account_id,
            destination.kind,
            config.destination_url,
            destination.identity,
            set_by=DestinationSetter.SETTING if setting else DestinationSetter.DATA_FOLDER,
        )


def _follow_folder(config: Config, store: Store) -> None:
    """Name the files of accounts anew where the data folder was moved, or another folder was set.

    Otherwise a copy of a data folder would load into the files of the original.
    """
    for row in store.destinations.list_destinations():
        if row.deleted_at is None and row.url.startswith(FOLDER_SCHEMES):
            url = move_url(row.url, config.duckdb_path)
            if url != row.url:
                store.destinations.follow_folder(row.id, url, make_destination(url).identity)


def _make_first_account(config: Config, store: Store) -> FirstAccount:
    """Make the first account; its token is in a file before the account is there.

    Raises:
        OperatorError: the file cannot be written. There is no account then.
    """
    path = config.first_token_path
    token = mint_token(PREFIXES[ACCOUNT])
    try:
        write_private_file(path, token + "\n", replace=True)
    except OSError as error:
        raise OperatorError(
            f"The token of the first account cannot be written to {path}: {error.strerror}; make "
            "its folder writable for the user treadle runs as."
        ) from error
    account, _ = store.accounts.create_account(FIRST_ACCOUNT_NAME, secret=token)
    return FirstAccount(account, token, path)


def _identify_destination(url: str) -> str:
    """Return the name of a URL's database without secrets, also if its driver is not installed."""
    try:
        return make_destination(url).identity
    except OperatorError:
        return mask_password(url)


def repair_log_at_start(config: Config) -> None:
    """Replace damaged logs by what can be read of them, before any process opens them.

    Those on PostgreSQL are for their server to keep; see `check_logs_at_start`.
    """
    for number, known in read_known_logs(config).items():
        path = name_log_file(config, number)
        is_gone = not (path.exists() and path.stat().st_size)
        if config.store is not None and known.log_id is not None:
            require_log_of_store(config, number, known.log_id, is_gone=is_gone)
        if known.log_id is not None and is_gone:
            logger.error(
                "the log %s is gone; what was accepted and not loaded is lost with it, unless you "
                "stop treadle and bring it back; a new one is begun",
                path,
            )
        salvaged = repair_log(config, known, number)
        if salvaged is not None:
            logger.error("%s", salvaged.describe())
            with contextlib.closing(open_store(config)) as store:
                store.trail.record_event(
                    TrailAction.SALVAGE_LOG,
                    TrailTarget(TargetKind.LOG, number or None),
                    TrailOutcome.DONE,
                )


def require_log_of_store(config: Config, number: int, log_id: str, *, is_gone: bool) -> None:
    """Refuse a data folder whose log is not the one that a store on PostgreSQL belongs to.

    Two servers with one store would take the positions of each other's logs for their own. A file
    cannot be shared by mistake, so with it a log that is gone is begun anew.

    Args:
        config: the settings.
        number: of the log.
        log_id: of the log that has this number in the store.
        is_gone: the data folder has no log of this number.

    Raises:
        OperatorError: it is another one, or is gone.
    """
    found = None
    if not is_gone:
        with (
            contextlib.suppress(OperatorError),
            contextlib.closing(open_file(config, number)) as reader,
        ):
            found = reader.log_id
        if found in (None, log_id):  # one that is damaged is repaired
            return
    raise OperatorError(
        f"the store belongs to the log {log_id}, and {name_log_file(config, number)} is "
        + ("not there" if is_gone else "another one")
        + ": start the server with the data folder that has that log; where it is lost for good, "
        "with what was accepted and not loaded, run `treadle init --replace-log` and start again"
    )


def read_known_logs(config: Config) -> dict[int, KnownLog]:
    """Return log number -> what the store knows of it, of all logs of the data folder.

    That is its id, and the loaded position of each of its tables.
    """
    with contextlib.closing(open_store(config)) as store:
        known = store.logs.list_logs()
        log_ids = {
            one.number: one.log_id for one in known if not one.url and one.state != LogState.CLOSED
        }
        loaded: dict[int, dict[tuple[int, str], int]] = defaultdict(dict)
        numbers = {source.id: source.log for source in store.sources.list_sources()}
        for status in store.tables.list_statuses():
            key = status.source_id, status.table_name
            loaded[numbers.get(status.source_id, FIRST_LOG)][key] = status.loaded
    return {
        number: KnownLog(log_ids.get(number), loaded[number])
        for number in sorted(log_ids if known else {FIRST_LOG})
    }


def check_logs_at_start(config: Config) -> None:
    """Refuse logs on PostgreSQL that do not keep what they take, or are not those of the store.

    Where the databases of some are away, the others are served.

    Raises:
        OperatorError: a server is weaker than the setting `log_durability` says, has another log,
            or the setting `log` names a database that has none of the store's logs.
        RetriableError: no log is available now.
    """
    with contextlib.closing(open_store(config)) as store:
        _check_logs(config, InstallationDirectory(config, store.logs))


def _check_logs(config: Config, directory: InstallationDirectory) -> None:
    logs = [one for one in directory.list_logs() if one.state is not LogState.CLOSED]
    remote = [one for one in logs if one.url]
    if config.log is not None:
        require_log_of_setting(config.log, [one.url for one in remote])
    away: dict[str, RetriableError] = {}
    for url in dict.fromkeys(one.url for one in remote):
        try:
            for warning in check_remote_log(url, config.log_durability):
                logger.warning("%s: %s", name_remote_place(url), warning)
            for one in remote:
                if one.url == url:
                    directory.open_reader(one.number).close()
        except RetriableError as error:
            logger.warning("%s: %s", name_remote_place(url), error)
            away[url] = error
    if away and len(away) == len({one.url for one in logs}):
        url, reason = away.popitem()
        raise RetriableError(
            f"{reason}: see that a server of {name_remote_place(url)} runs, takes writes and can "
            "be reached from here, and try again"
        )


def require_log_of_setting(url: str, known: Sequence[str]) -> None:
    """Refuse a setting `log` with a database that the store knows no log of.

    Raises:
        OperatorError: the log was never made, so records would go elsewhere.
    """
    wanted = name_remote_place(url)
    if wanted not in map(name_remote_place, known):
        raise OperatorError(
            f"log names {wanted}, and the store has no log there: make it with `treadle init`, or "
            "with `treadle log add`, or remove the setting"
        )
