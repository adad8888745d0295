"""Services that treadle was not run on say so, until the suite has passed there."""

import json

import pytest

from treadle.control.destination_responses import render_destination_type
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.conformance.known_traits import TRAITS
from treadle.destinations.conformance.service_run import (
    SuitePlugin,
    choose_modules,
    find_obstacles,
    make_proof,
)
from treadle.destinations.form import UrlForm
from treadle.destinations.registry import make_destination
from treadle.destinations.service_proof import (
    SERVICES,
    ServiceProof,
    describe_proof,
    list_proofs,
    read_proofs,
)

PROOF = ServiceProof("snowflake", "0.1.0", "9.37", "2026-11-30", 120, 3)


@pytest.mark.parametrize("type_", sorted(SERVICES))
def test_a_service_is_marked_until_the_suite_passed_there(type_: str) -> None:
    said = describe_proof(type_, [])
    assert said is not None
    assert said.startswith(
        f"Not yet run on the service: the tests of treadle for {SERVICES[type_]}"
    )
    proofs = [ServiceProof(type_, "0.1.0", "1", "2026-11-30", 100, 0)]
    assert describe_proof(type_, proofs) is None


def test_a_proof_of_one_service_says_nothing_of_another() -> None:
    assert describe_proof("redshift", [PROOF]) is not None


@pytest.mark.parametrize("type_", sorted(TRAITS.keys() - SERVICES.keys()))
def test_a_database_that_the_tests_start_has_no_mark(type_: str) -> None:
    assert describe_proof(type_, []) is None


def test_the_list_of_this_release_can_be_read() -> None:
    assert {one.type for one in list_proofs()} <= SERVICES.keys()


@pytest.mark.parametrize(("type_", "state"), [("postgres", "released"), ("snowflake", "beta")])
def test_the_card_of_a_service_without_a_proof_is_beta(type_: str, state: str) -> None:
    assert render_destination_type(UrlForm(type_))["details"]["pipeline_state"] == state


def make_plugin(passed: int, failed: list[str]) -> SuitePlugin:
    return SuitePlugin(
        lambda: make_destination("duckdb:///x.duckdb"), TRAITS["duckdb"], (), passed, 3, failed
    )


def test_a_run_without_a_failure_is_a_proof_that_can_be_added() -> None:
    text = make_proof(make_plugin(120, []), "snowflake", "0.1.0", "9.37", "2026-11-30")
    assert text is not None
    assert read_proofs(json.dumps([json.loads(text)])) == [PROOF]


@pytest.mark.parametrize(("passed", "failed"), [(0, []), (120, ["test_x"])])
def test_a_run_with_a_failure_or_without_a_test_proves_nothing(
    passed: int, failed: list[str]
) -> None:
    plugin = make_plugin(passed, failed)
    assert make_proof(plugin, "snowflake", "0.1.0", "9.37", "2026-11-30") is None


def test_modules_are_left_out_whose_subject_a_destination_has_not() -> None:
    every = choose_modules(Capabilities(evictable=True))
    assert {"offsets", "comparison", "sessions"} <= set(every)
    assert set(every) - set(choose_modules(Capabilities(row_compare=False))) == {
        "comparison",
        "sessions",
    }


def test_a_database_with_schemas_of_the_suites_names_is_not_empty() -> None:
    assert find_obstacles(["PUBLIC", "WEB"], str.lower) == ["WEB"]
    assert find_obstacles(["web_shop", "public"], str.lower) == []
