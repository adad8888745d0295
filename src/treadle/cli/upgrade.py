"""`treadle upgrade check|finish`: an upgrade of a cluster, member by member."""

import argparse
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_table
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.store.membership import ClusterMember
    from treadle.store.releases import TreadleRelease, UpgradeState

COLUMNS = ("member", "process", "role", "version", "schema", "form", "state")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def check_upgrade(config: Config, arguments: Arguments) -> int:
    """Print how far the members are; return 1 while an upgrade has to wait for some of them."""
    from treadle.store.releases import THIS_RELEASE, examine_upgrade

    if not config.has_store():
        raise OperatorError(
            f"There is no treadle data in {config.data}; name its folder with --data."
        )
    found = examine_upgrade(config.store_url, THIS_RELEASE)
    if found is None:
        raise OperatorError("There is no store yet; `treadle init` makes one.")
    advice = advise_upgrade(found, THIS_RELEASE)
    if arguments.json:
        print_json(render_upgrade(found, THIS_RELEASE, advice))
    else:
        _print_members(found)
        print_line(advice)
    return 1 if found.stranded else 0


def finish_upgrade(config: Config, arguments: Arguments) -> int:
    """Let only this release and later ones go on; refuse that while a live member is older."""
    from treadle.store.releases import THIS_RELEASE

    with open_existing_store(config) as store:
        found = store.releases.finish_upgrade(THIS_RELEASE)
    waits_for = found.older or found.newer
    if waits_for:
        advice = advise_upgrade(found, THIS_RELEASE)
        raise OperatorError(f"The upgrade is not finished. {advice}")
    was_finished = found.is_finished(THIS_RELEASE)
    if arguments.json:
        print_json({"version": THIS_RELEASE.version, "changed": not was_finished})
    elif was_finished:
        print_line(f"The upgrade to treadle {THIS_RELEASE.version} was finished before.")
    else:
        print_line(
            f"The upgrade to treadle {THIS_RELEASE.version} is finished: releases before it are "
            "refused from now on."
        )
    return 0


def advise_upgrade(found: "UpgradeState", release: "TreadleRelease") -> str:
    """Return what to do next, in words. Pure.

    Args:
        found: how far the upgrade is.
        release: that the command belongs to.
    """
    if found.newer:
        return (
            f"{_name_members(found.newer)} of a newer treadle than this command, "
            f"{release.version}: use the command of that release."
        )
    if found.stranded:
        return (
            f"{_name_members(found.stranded)} of a release that cannot go on once treadle "
            f"{release.version} has migrated the store: stop the cluster, or upgrade it to a "
            "release in between first."
        )
    if found.forms.schema < release.schema:
        return (
            f"The first member of treadle {release.version} that starts migrates the store from "
            f"{found.forms.schema} to {release.schema}; members of the release before go on. "
            "Upgrade the members with the role control, then loaders, then gates."
        )
    if found.older:
        return (
            f"{_name_members(found.older)} of an earlier release than {release.version}: upgrade "
            "them, control before loaders before gates, and run `treadle upgrade finish` then."
        )
    if found.is_finished(release):
        return f"All members are of treadle {release.version}, and the upgrade is finished."
    return f"All members are of treadle {release.version}: run `treadle upgrade finish`."


def _name_members(members: "Sequence[ClusterMember]") -> str:
    from treadle.tracking.member_list import shorten_place

    named = sorted({shorten_place(one.place) for one in members})
    shown = ", ".join(named[:5]) + (f" and {len(named) - 5} others" if len(named) > 5 else "")
    return f"{count_noun(len(named), 'member')} ({shown}) {'is' if len(named) == 1 else 'are'}"


def _print_members(found: "UpgradeState") -> None:
    from treadle.tracking.member_list import describe_members, shorten_place

    older = {(shorten_place(one.place), one.name) for one in found.older}
    newer = {(shorten_place(one.place), one.name) for one in found.newer}

    def name_state(member: str, process: str, *, is_live: bool) -> str:
        if not is_live:
            return "lost"
        place = member, process
        return "older" if place in older else "newer" if place in newer else "up to date"

    print_table(
        COLUMNS,
        [
            (
                one.member,
                one.process,
                one.role,
                one.version,
                one.schema,
                one.form,
                name_state(one.member, one.process, is_live=one.is_live),
            )
            for one in describe_members(found.members, ())
        ],
    )


def render_upgrade(found: "UpgradeState", release: "TreadleRelease", advice: str) -> dict[str, Any]:
    """Return the state of an upgrade as a JSON value. Pure."""
    return {
        "version": release.version,
        "schema": release.schema,
        "form": release.form,
        "store": {
            "schema": found.forms.schema,
            "least_schema": found.forms.least_schema or None,
            "form": found.forms.form,
        },
        "older": sorted({one.place for one in found.older}),
        "newer": sorted({one.place for one in found.newer}),
        "stranded": sorted({one.place for one in found.stranded}),
        "finished": found.is_finished(release),
        "advice": advice,
    }


COMMANDS = (
    CliCommand(
        words=("upgrade", "check"),
        help="say how far the members of a cluster are in an upgrade, and what is next",
        run=check_upgrade,
        arguments=_arguments,
    ),
    CliCommand(
        words=("upgrade", "finish"),
        help="refuse releases before this one, once all members are of it",
        run=finish_upgrade,
        arguments=_arguments,
    ),
)
