"""What `treadle upgrade` advises."""

from dataclasses import replace

import pytest

from treadle.cli.upgrade import advise_upgrade, render_upgrade
from treadle.store.membership import ClusterMember, SeenMember
from treadle.store.releases import StoreForms, TreadleRelease, judge_upgrade

OLD = TreadleRelease("0.1.0", "0030", 1)
NEW = TreadleRelease("0.2.0", "0032", 1)


def see(place: str, release: TreadleRelease) -> SeenMember:
    notes = release.notes
    member = ClusterMember(place, place, "worker 1", "ingest", "h", release.version, 1, notes)
    return SeenMember(member, 1)


@pytest.mark.parametrize(
    ("forms", "members", "release", "advice"),
    [
        (
            StoreForms("0030", "", 1),
            [see("a", OLD), see("b", OLD)],
            NEW,
            (
                "The first member of treadle 0.2.0 that starts migrates the store from 0030 to "
                "0032; members of the release before go on. Upgrade the members with the role "
                "control, then loaders, then gates."
            ),
        ),
        (
            StoreForms("0030", "", 1),
            [see("a", OLD)],
            replace(NEW, least_schema="0031"),
            (
                "1 member (a) is of a release that cannot go on once treadle 0.2.0 has migrated"
                " the store: stop the cluster, or upgrade it to a release in between first."
            ),
        ),
        (
            StoreForms("0032", "", 1),
            [see("a", OLD), see("b", OLD), see("c", NEW)],
            NEW,
            (
                "2 members (a, b) are of an earlier release than 0.2.0: upgrade them, control "
                "before loaders before gates, and run `treadle upgrade finish` then."
            ),
        ),
        (
            StoreForms("0032", "", 1),
            [see("c", NEW)],
            OLD,
            (
                "1 member (c) is of a newer treadle than this command, 0.1.0: use the command "
                "of that release."
            ),
        ),
        (
            StoreForms("0032", "", 1),
            [see("c", NEW)],
            NEW,
            "All members are of treadle 0.2.0: run `treadle upgrade finish`.",
        ),
        (
            StoreForms("0032", "0032", 1),
            [see("c", NEW)],
            NEW,
            "All members are of treadle 0.2.0, and the upgrade is finished.",
        ),
    ],
)
def test_the_next_step_of_an_upgrade_is_named(
    forms: StoreForms, members: list[SeenMember], release: TreadleRelease, advice: str
) -> None:
    assert advise_upgrade(judge_upgrade(forms, members, release), release) == advice


def test_a_program_gets_the_same() -> None:
    found = judge_upgrade(StoreForms("0032", "", 1), [see("a", OLD), see("c", NEW)], NEW)
    assert render_upgrade(found, NEW, "wait") == {
        "version": "0.2.0",
        "schema": "0032",
        "form": 1,
        "store": {"schema": "0032", "least_schema": None, "form": 1},
        "older": ["a"],
        "newer": [],
        "stranded": [],
        "finished": False,
        "advice": "wait",
    }
