"""Which releases may go on with a store, and what an upgrade waits for."""

import pytest

from treadle.store.membership import ClusterMember, SeenMember
from treadle.store.releases import (
    THIS_RELEASE,
    StoreForms,
    TreadleRelease,
    compare_versions,
    judge_upgrade,
)

OLD = TreadleRelease("0.1.0", "0030", 1)
NEW = TreadleRelease("0.2.0", "0032", 2)


def see(name: str, release: TreadleRelease, *, live: bool = True) -> SeenMember:
    member = ClusterMember(name, name, "worker 1", "ingest", "h", release.version, 1, release.notes)
    return SeenMember(member, 1 if live else 0)


def names(members: object) -> list[str]:
    return [one.id for one in members]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ("0.1.0", "0.1.0", 0),
        ("0.9.0", "0.10.0", -1),
        ("1.0", "0.10.0", 1),
        ("0.2.0+build.7", "0.2.0", 0),
    ],
)
def test_versions_are_compared_by_their_numbers(one: str, other: str, order: int) -> None:
    assert compare_versions(one, other) == order


def test_live_members_of_the_release_before_are_waited_for_and_lost_ones_are_not() -> None:
    seen = [see("a", OLD), see("b", OLD, live=False), see("c", NEW)]
    found = judge_upgrade(StoreForms("0032", "", 1), seen, NEW)
    assert names(found.older) == ["a"]
    assert (found.newer, found.stranded) == ([], [])
    assert not found.is_finished(NEW)


def test_a_member_that_does_not_say_what_it_knows_counts_as_older() -> None:
    silent = ClusterMember("a", "a", "loader 1", "loader", "h", NEW.version, 1, {})
    found = judge_upgrade(StoreForms("0032", "", 1), [SeenMember(silent, 1)], NEW)
    assert names(found.older) == ["a"]


def test_the_command_of_the_release_before_sees_that_others_are_newer() -> None:
    found = judge_upgrade(StoreForms("0032", "", 1), [see("a", OLD), see("b", NEW)], OLD)
    assert names(found.newer) == ["b"]
    assert found.older == []


@pytest.mark.parametrize(
    ("least", "schema", "stranded"),
    [
        ("", "0030", []),
        ("0030", "0030", []),
        ("0031", "0030", ["a"]),
        ("0031", "0032", []),  # it was migrated, and they went on
    ],
)
def test_members_that_the_migration_would_strand_are_named(
    least: str, schema: str, stranded: list[str]
) -> None:
    release = TreadleRelease("0.2.0", "0032", 2, least)
    found = judge_upgrade(StoreForms(schema, "", 1), [see("a", OLD)], release)
    assert names(found.stranded) == stranded


@pytest.mark.parametrize(
    ("least", "form", "refused"),
    [("", 1, False), ("0030", 1, False), ("0031", 1, True), ("", 2, True)],
)
def test_a_release_is_refused_once_the_upgrade_to_a_newer_one_is_finished(
    least: str, form: int, *, refused: bool
) -> None:
    refusal = OLD.find_refusal(least, form)
    assert (refusal is not None) is refused
    assert refusal is None or refusal.endswith(
        "and this one (0.1.0) knows up to 0030 and 1: install that version"
    )


def test_this_release_may_use_a_store_that_it_made() -> None:
    assert THIS_RELEASE.find_refusal(THIS_RELEASE.least_schema, 1) is None
