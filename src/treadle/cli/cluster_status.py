"""`treadle cluster status`: members, logs, databases, units, and what is wrong with them."""

import argparse
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_table, to_whole_second
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError, RetriableError
from treadle.text import format_bytes

if TYPE_CHECKING:
    from treadle.log.protocol import LogInfo
    from treadle.log.registry import InstallationDirectory
    from treadle.maintenance.cluster_state import (
        ClusterState,
        DatabaseState,
        LogStatus,
        MemberState,
    )
    from treadle.store.store import Store

MEMBER_COLUMNS = ("member", "role", "host", "version", "since", "last beat", "units")
LOG_COLUMNS = ("log", "state", "last position", "records waiting", "of tables", "bytes", "database")
DATABASE_COLUMNS = ("database", "of", "takes writes", "version", "commits wait for")
STANDBY_COLUMNS = ("standby", "address", "of", "state", "synchronous", "behind")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_cluster(config: Config, arguments: Arguments) -> int:
    """Print how the cluster is; return 1 where something is wrong."""
    state = read_cluster(config)
    if arguments.json:
        print_json(render_cluster(state))
    else:
        _print_tables(state)
    return 1 if state.problems else 0


def read_cluster(config: Config) -> "ClusterState":
    """Look at everything that a cluster has.

    Raises:
        OperatorError: the store is no cluster's, or cannot be used.
        RetriableError: the store is not available now.
    """
    from treadle.log.registry import InstallationDirectory
    from treadle.maintenance.cluster_state import ClusterState, UnitState, find_problems

    if config.store is None:
        raise OperatorError(
            "a cluster has its store on PostgreSQL: name it with --store, TREADLE_STORE or in "
            "treadle.toml; `treadle status` shows a server by itself"
        )
    with open_existing_store(config) as store:
        directory = InstallationDirectory(config, store.logs)
        logs = [one for one in directory.list_logs() if one.log_id]
        databases, positions = _look_at_databases(config, logs)
        state = ClusterState(
            members=tuple(_list_members(store)),
            logs=tuple(_measure_log(config, directory, one, positions) for one in logs),
            databases=tuple(databases),
            units=tuple(UnitState(one.unit, one.holder) for one in store.units.list_units()),
        )
    return replace(state, problems=find_problems(state))


def _list_members(store: "Store") -> "list[MemberState]":
    from treadle.maintenance.cluster_state import MemberState
    from treadle.store.membership import MEMBER_LASTS_US

    return [
        MemberState(
            one.member.id,
            frozenset(one.member.role.split(",")),
            one.member.seat,
            one.member.host,
            one.member.version,
            one.member.since,
            max(0.0, (MEMBER_LASTS_US - one.left_us) / 1e6),
            one.is_live,
        )
        for one in store.members.list_members()
    ]


def _look_at_databases(
    config: Config, logs: "list[LogInfo]"
) -> "tuple[list[DatabaseState], dict[str, int]]":
    """Return the databases of store and logs, and log id -> the greatest position given."""
    from treadle.log.remote_registry import name_remote_place
    from treadle.store.transfer import name_target

    store_place = name_target(config.store_url)
    urls = {store_place: config.store_url}
    uses = {store_place: ["store"]}
    for log in logs:
        if log.url and log.state != "closed":
            place = name_remote_place(log.url)
            urls.setdefault(place, log.url)
            uses.setdefault(place, []).append(f"log {log.number}")
    positions: dict[str, int] = {}
    found = [
        _look_at_database(config, place, tuple(uses[place]), url, positions)
        for place, url in urls.items()
    ]
    return found, positions


def _look_at_database(
    config: Config, place: str, uses: tuple[str, ...], url: str, positions: dict[str, int]
) -> "DatabaseState":
    """Ask the server of one database; add the positions of the logs in it."""
    from treadle.log.remote_registry import find_remote_faults, look_at_remote_server
    from treadle.maintenance.cluster_state import DatabaseState
    from treadle.store.transfer import find_target_weakness

    try:
        look = look_at_remote_server(url)
        weaknesses: list[str] = []
        if "store" in uses:
            weakness = find_target_weakness(url, config.store_durability)
            weaknesses += [] if weakness is None else [weakness]
        if uses != ("store",):
            weaknesses += find_remote_faults(url, config.log_durability).refusals
    except (OperatorError, RetriableError) as error:
        return DatabaseState(place, uses, trouble=str(error))
    positions.update(look.positions)
    return DatabaseState(
        place,
        uses,
        f"{look.host}:{look.port}",
        look.version,
        look.standby_names,
        look.standbys,
        look.shows_standbys,
        tuple(weaknesses),
    )


def _measure_log(
    config: Config,
    directory: "InstallationDirectory",
    log: "LogInfo",
    positions: dict[str, int],
) -> "LogStatus":
    from treadle.log.registry import name_log_place
    from treadle.maintenance.cluster_state import LogStatus

    place = name_log_place(config, log)
    head = (log.number, str(log.state), place, bool(log.url))
    if log.state == "closed":
        return LogStatus(*head)
    try:
        with closing(directory.open_reader(log.number)) as reader:
            backlogs = reader.list_backlogs()
            used = reader.statistics.measure_space().used_bytes
    except (OperatorError, RetriableError) as error:
        return LogStatus(*head, trouble=str(error))
    records = sum(one.records for one in backlogs)
    return LogStatus(*head, positions.get(log.log_id), records, len(backlogs), used)


def render_cluster(state: "ClusterState") -> dict[str, Any]:
    """Return the state as JSON values."""
    free = state.list_free_units()
    return {
        "members": [
            {
                "name": one.name,
                "roles": sorted(one.roles),
                "host": one.host,
                "version": one.version,
                "since": to_whole_second(one.since),
                "beat_seconds": round(one.beat_seconds, 1),
                "live": one.is_live,
                "units": state.count_units(one),
            }
            for one in state.members
        ],
        "logs": [
            {
                "number": one.number,
                "state": one.state,
                "database": one.place,
                "last_position": one.last,
                "records_waiting": one.records,
                "tables_waiting": one.tables,
                "bytes": one.used_bytes,
                "trouble": one.trouble,
            }
            for one in state.logs
        ],
        "databases": [
            {
                "database": one.place,
                "uses": list(one.uses),
                "primary": one.primary,
                "version": one.version,
                "synchronous": one.is_synchronous,
                "synchronous_standby_names": one.standby_names,
                "standbys": [
                    {
                        "name": standby.name,
                        "address": standby.address,
                        "state": standby.state,
                        "synchronous": standby.is_synchronous,
                        "lag_bytes": standby.lag_bytes,
                    }
                    for standby in one.standbys
                ],
                "shows_standbys": one.shows_standbys,
                "trouble": one.trouble,
            }
            for one in state.databases
        ],
        "units": {"all": len(state.units), "free": [one.unit for one in free]},
        "problems": list(state.problems),
    }


def _print_tables(state: "ClusterState") -> None:
    from treadle.maintenance.cluster_state import summarize_uses, summarize_versions

    print_table(MEMBER_COLUMNS, [_list_values(state, one) for one in _order_members(state)])
    print_line()
    print_table(
        LOG_COLUMNS,
        [
            (
                one.number,
                one.state,
                one.last,
                one.records,
                one.tables,
                None if one.used_bytes is None else format_bytes(one.used_bytes),
                one.place,
            )
            for one in state.logs
        ],
    )
    print_line()
    print_table(
        DATABASE_COLUMNS,
        [
            (
                one.place,
                summarize_uses(one.uses),
                one.primary,
                one.version,
                one.standby_names or "none",
            )
            for one in state.databases
        ],
    )
    standbys = [
        (
            standby.name,
            standby.address,
            one.primary,
            standby.state,
            "yes" if standby.is_synchronous else "no",
            None if standby.lag_bytes is None else format_bytes(standby.lag_bytes),
        )
        for one in state.databases
        for standby in one.standbys
    ]
    if standbys:
        print_line()
        print_table(STANDBY_COLUMNS, standbys)
    print_line()
    free = len(state.list_free_units())
    print_line(
        f"units     {count_noun(len(state.units), 'unit')}, "
        + (f"{free} of them without a live loader" if free else "all with a live loader")
    )
    print_line(f"releases  {summarize_versions(state.members) or 'no member runs'}")
    for problem in state.problems:
        print_line(f"problem   {problem}")
    if not state.problems:
        print_line("problems  none")


def _order_members(state: "ClusterState") -> "list[MemberState]":
    """Return the members by what they do, and by name."""
    from treadle.maintenance.cluster_state import ROLES

    def place(member: "MemberState") -> tuple[int, str]:
        known = [ROLES.index(one) for one in member.roles if one in ROLES]
        return min(known, default=len(ROLES)), member.name

    return sorted(state.members, key=place)


def _list_values(state: "ClusterState", member: "MemberState") -> tuple[object, ...]:
    beat = (
        f"{member.beat_seconds:.1f} s" if member.is_live else f"lost, {member.beat_seconds:.0f} s"
    )
    return (
        member.name,
        ", ".join(sorted(member.roles)),
        member.host,
        member.version,
        to_whole_second(member.since),
        beat,
        state.count_units(member) or None,
    )


COMMAND = CliCommand(
    words=("cluster", "status"),
    help="show members, logs, databases and units, and what is wrong; exit code 1 if something is",
    run=print_cluster,
    arguments=_arguments,
    settings=("store_durability", "log_durability"),
)
