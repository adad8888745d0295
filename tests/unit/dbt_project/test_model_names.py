"""Names that dbt takes: safe, short, each another one, and the same in each run."""

import re

from hypothesis import given
from hypothesis import strategies as st

from treadle.dbt_project.model_names import append_digest, choose_names, join_names


@given(st.lists(st.text() | st.text("aA_ -1é", max_size=4)))
def test_names_are_safe_and_differ_whatever_the_texts_are(texts: list[str]) -> None:
    names = choose_names(texts)
    assert names.keys() == set(texts)
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name) for name in names.values())
    assert choose_names(reversed(texts)) == names


def test_a_name_is_the_text_where_it_can_be() -> None:
    assert choose_names(["orders", "line items", "Größe", "1d"]) == {
        "orders": "orders",
        "line items": "line_items",
        "Größe": "gr_e",
        "1d": "t_1d",
    }


def test_of_texts_with_one_name_the_exact_one_has_it() -> None:
    names = choose_names(["a_b", "a b", "a-b"])
    assert names["a_b"] == "a_b"
    assert re.fullmatch(r"a_b_[0-9a-f]{6}", names["a b"])
    assert re.fullmatch(r"a_b_[0-9a-f]{6}", names["a-b"])


def test_long_names_are_cut_and_differ() -> None:
    names = choose_names(["x" * 64, "x" * 65, "x" * 63])
    assert names["x" * 63] == "x" * 63
    assert {len(name) for name in names.values()} == {63}


def test_two_joined_names_are_told_apart() -> None:
    pairs = [("a", "b__c"), ("a__b", "c")]
    names = choose_names(join_names(*pair) for pair in pairs)
    assert len(set(names.values())) == 2
    assert choose_names([join_names("stg_shop", "orders")]).popitem()[1] == "stg_shop__orders"


def test_a_digest_grows_until_the_name_is_free() -> None:
    first = append_digest("a", "a", ())
    second = append_digest("a", "a", {first})
    assert second.startswith(first)
    assert len(second) == len(first) + 1
    assert len(append_digest("é" * 60, "x", ()).encode()) <= 63
