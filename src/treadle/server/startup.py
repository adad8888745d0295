"""What is done before a server's processes start: the first account, a mended log, old notes."""

import contextlib
import logging
from dataclasses import dataclass

from treadle.config import Config, mask_password
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.log.carry import Carried, carry
from treadle.log.sqlite.recovery.salvage import KnownLog, repair_log
from treadle.server.factories import open_store
from treadle.store.model import Account

logger = logging.getLogger("treadle.server")

FIRST_ACCOUNT_NAME = "default"
CARRIED_AT_ONCE = 10_000
"""Requests with a key, of about 100 bytes each."""


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """The account that was made with a new store, and its token, which is not kept."""

    account: Account
    token: str


def set_up_store(config: Config) -> FirstAccount | None:
    """Make the store where there is none; returns the first account when it was made now."""
    destination = make_destination(config.destination_url)
    with contextlib.closing(open_store(config)) as store:
        newcomer = None
        if not store.accounts():
            account, token = store.create_account(FIRST_ACCOUNT_NAME)
            newcomer = FirstAccount(account, token)
        defaults = {account.destination_id for account in store.accounts()}
        former = {
            _identify_destination(row.url) for row in store.destinations() if row.id in defaults
        }
        for place in sorted(former - {destination.identity}):
            logger.warning(
                "from now on rows go to %s and no longer to %s, where what was loaded stays; "
                "name the old place with --destination to go back",
                destination.identity,
                place,
            )
        for account in store.accounts():
            store.set_default_destination(
                account.id, destination.kind, config.destination_url, destination.identity
            )
        return newcomer


def _identify_destination(url: str) -> str:
    """Where a URL leads, without secrets, also when its driver is not installed any more."""
    try:
        return make_destination(url).identity
    except OperatorError:
        return mask_password(url)


def repair_log_at_start(config: Config) -> None:
    """Replace a log that is damaged by what can be read of it; before anybody opens it."""
    known = read_known_log(config)
    path = config.log_path
    if known.log_id is not None and not (path.exists() and path.stat().st_size):
        logger.error(
            "the log %s is gone; what was accepted and not loaded is lost with it, unless you stop "
            "treadle and bring it back; a new one is begun",
            path,
        )
    salvaged = repair_log(path, known)
    if salvaged is not None:
        logger.error("%s", salvaged.describe())


def read_known_log(config: Config) -> KnownLog:
    """What the store remembers of the log."""
    with contextlib.closing(open_store(config)) as store:
        loaded = {(s.source_id, s.table_name): s.loaded for s in store.table_statuses()}
        return KnownLog(store.log_id(), loaded)


def carry_requests(config: Config) -> None:
    """Move what an earlier treadle noted of requests with a key from the store into the log.

    A crash in the midst of it repeats it: they are in the log before they leave the store.
    """
    count = 0
    with contextlib.closing(open_store(config)) as store:
        while found := store.remembered(CARRIED_AT_ONCE):
            done = [
                Carried(one.name, one.digest, one.first, one.at)
                for one in found
                if one.first is not None
            ]
            carry(config.log_path, done)
            store.forget_up_to(found[-1].name)
            count += len(done)
    if count:
        logger.info("the log knows %d requests with a key that the store knew until now", count)
