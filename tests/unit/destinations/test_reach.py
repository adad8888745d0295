"""Whether an account may have a statement run, by what the database shows."""

import pytest

from treadle.destinations.asking import RoleRights
from treadle.destinations.reach import (
    NOT_ALONE,
    ROLE_READS_TOO_MUCH,
    AccountReach,
    judge_reach,
    judge_rights,
)
from treadle.tables.schema_owner import SchemaOwner

OURS, THEIRS = SchemaOwner("i", 1, 7), SchemaOwner("i", 2, 8)
ELSEWHERE = SchemaOwner("j", 1, 7)


def reach(**more: object) -> AccountReach:
    values: dict[str, object] = {"owner": SchemaOwner("i", 1, 0), "own": frozenset({"shop"})}
    return AccountReach(is_alone=False, **(values | more))  # type: ignore[arg-type]


def test_the_only_account_may_read_everything() -> None:
    assert judge_reach(AccountReach(is_alone=True), {"shop", "finance"}, {"x": THEIRS}) is None


def test_one_of_several_may_read_what_is_its_alone() -> None:
    assert judge_reach(reach(), {"shop"}, {"shop": OURS}) is None
    assert judge_reach(reach(), {"shop"}, None) is None
    assert judge_reach(reach(), set(), None) is None


@pytest.mark.parametrize(
    ("found", "readable", "owners"),
    [
        (reach(foreign=frozenset({"other"})), {"shop"}, None),
        (reach(foreign=frozenset({"other"})), {"shop", "other"}, None),
        (reach(), {"shop"}, {"shop": OURS, "other": THEIRS}),
        (reach(), {"shop"}, {"shop": THEIRS}),
        (reach(), {"shop"}, {"shop": ELSEWHERE}),
        (reach(), {"shop", "public"}, {"shop": OURS}),
        (reach(), {"public"}, None),
        (reach(shares_login=True), {"shop"}, {"shop": OURS}),
        # The store's word does not count where the database has one.
        (reach(own=frozenset({"shop", "old"})), {"shop", "old"}, {"shop": OURS}),
        # A name that both have is nobody's own.
        (reach(foreign=frozenset({"SHOP"})), {"shop"}, None),
    ],
)
def test_one_of_several_may_not_read_what_is_others(
    found: AccountReach, readable: set[str], owners: dict[str, SchemaOwner] | None
) -> None:
    assert judge_reach(found, readable, owners) == NOT_ALONE


def test_a_role_of_its_own_may_read_what_it_was_given_but_no_schema_of_others() -> None:
    own = reach(has_own_role=True, foreign=frozenset({"other"}))
    assert judge_reach(own, {"shop", "public"}, None) is None
    assert judge_reach(own, {"shop", "Other"}, None) == ROLE_READS_TOO_MUCH
    assert judge_reach(own, {"shop", "old"}, {"old": THEIRS}) == ROLE_READS_TOO_MUCH


def test_a_role_that_reaches_the_machine_may_nothing() -> None:
    assert judge_rights(RoleRights("loader")) is None
    said = judge_rights(RoleRights("loader", ("a superuser",)))
    assert said is not None
    assert said.startswith("The role loader is a superuser. ")
    assert "query_url" in said
