import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli.quotas import parse_quotas
from treadle.errors import OperatorError
from treadle.quotas import ACCOUNT_QUOTAS, SOURCE_QUOTAS


def test_a_value_none_and_nothing() -> None:
    found = parse_quotas(["records=500", "tables=none", "bytes=", "bodies=0"], SOURCE_QUOTAS)
    assert found == {"records": 500, "tables": 0, "bytes": None, "bodies": 0}
    assert parse_quotas([], ACCOUNT_QUOTAS) == {}


WRONG = (
    *("tables", "table=5", "=5", "tables=-1", "tables=1.5", "tables=1e3", "tables=\u0663"),
    *(f"tables={2**63}", "tables= 5", "weight=0", "weight=none", "sources=5", "TABLES=5"),
)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_quota_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(OperatorError) as refused:
        parse_quotas([text], SOURCE_QUOTAS)
    assert "expected NAME=VALUE" in str(refused.value) or "whole number from" in str(refused.value)


@given(st.sampled_from(SOURCE_QUOTAS), st.integers(1, 2**63 - 1))
def test_every_quota_takes_every_number(name: str, value: int) -> None:
    assert parse_quotas([f"{name}={value}"], SOURCE_QUOTAS) == {name: value}


@given(st.text(max_size=20))
def test_no_text_does_anything_else_than_set_a_known_quota_or_be_refused(text: str) -> None:
    try:
        found = parse_quotas([text], ACCOUNT_QUOTAS)
    except OperatorError:
        return
    [(name, value)] = found.items()
    assert name in ACCOUNT_QUOTAS
    assert value is None or 0 <= value < 2**63
