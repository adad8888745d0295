"""What a push with --wait adds up from the receipts of its requests."""

from typing import Any

from treadle.cli.receipt_follower import PushOutcome, make_outcome


def table(**changes: Any) -> dict[str, Any]:
    return {"loaded": 2, "superseded": 1, "rejected": [], **changes}


def test_the_outcomes_of_tables_add_up() -> None:
    why = "Column name long is too long for PostgreSQL"
    left = {"table": "t", "field": "long", "reason": why}
    first = make_outcome(
        table(
            rejected=[{"record": 0, "reason": "too big"}, {"record": 1, "reason": "no"}],
            left_out=[{**left, "records": 3}],
            rounded=[{"table": "t", "field": "p", "values": 2}],
            trouble="all 2 records were rejected",
        )
    )
    second = make_outcome(
        table(
            left_out=[{**left, "records": 4}, {**left, "field": "other", "records": None}],
            rounded=[{"table": "t__x", "field": "p", "values": 5}],
            trouble=None,
        )
    )
    total = first + second
    assert (total.loaded, total.superseded, total.rejected) == (4, 2, 2)
    assert (total.reason, total.trouble) == ("too big", "all 2 records were rejected")
    assert total.left_out == {("long", why): 7, ("other", why): 1}
    assert total.rounded == {"p": 7}


def test_a_server_that_tells_less_is_understood() -> None:
    assert make_outcome(table()) == PushOutcome(loaded=2, superseded=1)
