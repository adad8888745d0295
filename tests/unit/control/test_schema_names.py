"""Display names become schema names (connect-api.md 4.1)."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.control.schema_names import derive_schema_name, is_build_schema, is_schema_name
from treadle.destinations.reserved_schemas import is_reserved_schema

ALPHABET = set(string.ascii_lowercase + string.digits + "_$")


@pytest.mark.parametrize(
    ("display_name", "name", "is_legal"),
    [
        ("Import API", "import_api", True),
        ("Import API tokens example", "import_api_tokens_example", True),
        ("Customer Records", "customer_records", True),
        ("Recurly Stitch", "recurly_stitch", True),
        ("Sales (EU) v1.2", "sales_eu_v12", True),
        ("DISPLAY_NAME!!!", "display_name", True),
        ("####", "", False),
        ("2019 orders", "2019_orders", False),
        ("a" * 60, "a" * 60, False),
        ("import api", "import_api", True),
        ("  Ta\tb-c ", "ta_b_c", True),
        ("cash$", "cash$", True),
        ("$cash", "$cash", False),
        ("_private", "_private", True),
        ("日本 Orders", "_orders", True),
        ("\N{KELVIN SIGN}\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}x", "x", True),
        ("a\nb\u00a0c", "abc", True),
        ("   ", "", False),
        ("a" * 49, "a" * 49, True),
        ("a" * 50, "a" * 50, False),
    ],
)
def test_a_name_is_derived_by_the_documented_steps(
    display_name: str, name: str, is_legal: bool
) -> None:
    assert derive_schema_name(display_name) == name
    assert is_schema_name(name) is is_legal


@given(st.text())
def test_a_derived_name_holds_only_what_names_may_hold_and_derives_to_itself(text: str) -> None:
    name = derive_schema_name(text)
    assert set(name) <= ALPHABET
    assert derive_schema_name(name) == name


@example("public")
@given(st.text(alphabet=sorted(ALPHABET | {"A", "-", " ", "\n", "é"}), max_size=60))
def test_a_name_is_legal_by_its_length_its_characters_and_its_first_one(text: str) -> None:
    expected = 0 < len(text) < 50 and set(text) <= ALPHABET and text[0] not in "0123456789$"
    expected = expected and not is_reserved_schema(text)  # which other tests are about
    assert is_schema_name(text) is expected


@pytest.mark.parametrize("name", ["shop__march", "shop__a_b", "shop__2026$"])
def test_a_schema_to_build_in(name: str) -> None:
    assert is_build_schema(name, "shop", ["shop"])
    assert not is_build_schema(name, "shop", ["shop", name])
    assert not is_build_schema(name, "sho", ["sho"])


@pytest.mark.parametrize(
    "name",
    [
        "march",
        "shop",
        "shop__",
        "shop__replay",
        "shop__replay_",
        "shop__a__b",
        "shop___a",
        "shop__A",
    ],
)
def test_a_schema_that_is_of_another_use_or_source(name: str) -> None:
    assert not is_build_schema(name, "shop", ["shop"])


def test_no_two_sources_have_the_same_schema_to_build_in() -> None:
    sources = ["shop", "shop_", "shop__a", "shop__a_", "_shop"]
    ends = ["", "a", "_a", "a_", "a__b", "_", "__a", "replay"]
    names = {f"{source}__{end}" for source in sources for end in ends}
    for name in names:
        assert sum(is_build_schema(name, source, sources) for source in sources) <= 1, name
