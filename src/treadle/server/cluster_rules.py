"""What a member needs that shares the work with others: settings, and a store and logs for all."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from treadle.config import Config, OperatorWarning
from treadle.errors import OperatorError


class SharedLog(Protocol):
    """A log as the store knows it."""

    @property
    def number(self) -> int:
        """Its number."""

    @property
    def url(self) -> str:
        """Where it is; empty for a file in the data folder of one machine."""

    @property
    def state(self) -> str:
        """What it takes."""


class KnownDestination(Protocol):
    """A destination as the store knows it."""

    @property
    def identity(self) -> str:
        """Its database, without secrets."""


CLOSED: Final = "closed"


def require_cluster_settings(config: Config) -> None:
    """Refuse settings that do not go with a role other than `all`.

    Raises:
        OperatorError: one of them is one machine's alone.
    """
    if not config.in_cluster:
        return
    role = ",".join(config.role)
    if config.store is None:
        raise OperatorError(
            f"role is {role}, so other members share the work, and the store is a file of this "
            "machine: name the store on PostgreSQL that all members use with the setting store; "
            "or leave role out, and this server does everything"
        )
    if config.destination is not None:
        raise OperatorError(
            f"role is {role}, and destination is set: members with other settings would undo each "
            "other's, so the destinations of a cluster are kept in its store. Remove the setting "
            "here, and run `treadle destination create` once"
        )
    if config.publish is not None:
        raise OperatorError(
            f"role is {role}, and publish is set: a DuckDB file belongs to one machine. Remove the "
            "setting, or leave role out on a machine that does everything"
        )


def find_company_risk(config: Config, others: Iterable[str]) -> OperatorWarning | None:
    """Find out whether a server that does everything is not alone.

    Args:
        config: the settings.
        others: names of other servers that use the store now.
    """
    named = sorted(set(others))
    if config.in_cluster or not named:
        return None
    return OperatorWarning(
        f"role is all, and other servers use the store: {', '.join(named)}.",
        "Two servers that do everything give accounts the destination of their own settings, and "
        "send hooks and mails twice.",
        "Name the roles of each with role, such as ingest,loader,control.",
    )


def make_file_rule(config: Config) -> Callable[[KnownDestination], bool]:
    """Return which DuckDB files a server may load into: those that are on its machine.

    With the role `all` the machine is alone. In a cluster a path names a file on every machine, so
    the setting `holds` says where each one is; otherwise the rows would be in several files.

    Raises:
        OperatorError: a URL of the setting cannot be used.
    """
    from treadle.destinations.registry import make_destination  # the supervisor needs none

    if not config.in_cluster:
        return lambda row: True
    urls = [one.strip() for one in (config.holds or "").split(",") if one.strip()]
    try:
        held = {make_destination(url).identity for url in urls}
    except OperatorError as error:
        raise OperatorError(f"holds names a file that cannot be used: {error}") from error
    return lambda row: row.identity in held


def require_shared_logs(role: str, logs: Iterable[SharedLog]) -> None:
    """Refuse a store whose log is a file of one machine.

    Args:
        role: the setting, for the message.
        logs: those that the store knows.

    Raises:
        OperatorError: one of them is in a data folder, or there is none.
    """
    open_logs = [one for one in logs if one.state != CLOSED]
    local = [one.number for one in open_logs if not one.url]
    if open_logs and not local:
        return
    found = (
        f"log {local[0]} of the store is a file of one machine" if local else "the store has no log"
    )
    raise OperatorError(
        f"role is {role}, so other members share the work, and {found}: make logs on PostgreSQL "
        "with `treadle init --log URL`; or leave role out, and this server does everything"
    )
