"""What is known of a regular expression from its text."""

import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.records.validation.effort import ENDLESS
from treadle.records.validation.pattern_cost import STATES_MAX, measure_pattern
from treadle.records.validation.string_pattern import PatternError, StringPattern


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 2),
        ("abc", 3, 10),
        (r"^[A-Z]{2}\d{4}$", 6, 40),
        ("a{1000}", 1000, 2000),
        ("a{3,1000}", 1000, 2000),
        ("a{1000,}", 1000, 2000),
        ("(?:ab){100}", 200, 500),
        ("((a{10}){10}){10}", 1000, 3000),
        ("a|b|c", 3, 10),
        (r"\p{L}{100}", 10_000, 200_000),
        (r"[\p{L}\p{N}]{10}", 10_000, 50_000),
        (r"[^a]{100}", 1000, 3000),
        (".{100}", 1000, 3000),
        ("a{99999999999}", STATES_MAX, STATES_MAX),
        ("(((a{9999}){9999}){9999}){9999}", STATES_MAX, STATES_MAX),
        (r"\{1000\}", 1, 20),
        ("a{,5}", 1, 10),
        ("[]a]{10}", 10, 100),
        ("[a{100}]", 1, 20),
    ],
)
def test_states(text: str, least: int, most: int) -> None:
    assert least <= measure_pattern(text).states <= most


@pytest.mark.parametrize(
    "text",
    ["a", "(a)", "(?:a)", "(?<name>a)", "a*?", "a+", "[?=]", r"\(?=a", r"a\++", "a{2}?", "[(?=)]"],
)
def test_expressions_that_are_matched_in_one_pass(text: str) -> None:
    assert measure_pattern(text).one_pass


@pytest.mark.parametrize(
    "text",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        r"(a)\1",
        r"(?<n>a)\k<n>",
        "(?>a)",
        "a++",
        "a*+",
        "a?+",
        "a{2}+",
        "(?i)a",
        "(?(1)a)",
    ],
)
def test_expressions_that_may_be_matched_by_trying(text: str) -> None:
    assert not measure_pattern(text).one_pass


pieces = st.sampled_from(
    [
        "a",
        "b",
        ".",
        r"\d",
        r"\w",
        r"\s",
        r"\S",
        r"\b",
        r"\p{L}",
        r"\p{Lu}",
        "[a-z]",
        "[^a]",
        r"[\w-]",
        "é",
        "(?:)",
        "^",
        "$",
        r"\u00e9",
    ]
)
expressions = st.recursive(
    pieces,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({})*".format, inner),
        st.builds("(?:{}){{{}}}".format, inner, st.integers(0, 60)),
        st.builds("(?:{}){{0,{}}}".format, inner, st.integers(1, 60)),
        st.builds("(?={})".format, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=examples(200))
@given(expressions)
def test_an_expression_takes_no_more_than_was_measured(text: str) -> None:
    """Time for each state, with much room: the machine may be slow, and a clock is coarse."""
    states = measure_pattern(text).states
    if states > 300_000:
        return
    before = time.thread_time()
    try:
        StringPattern(text, ENDLESS)
    except PatternError:
        return
    assert time.thread_time() - before < 0.05 + states * 20e-6


def test_the_memory_of_expressions_follows_their_states() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = [StringPattern(rf"\p{{L}}{{30}}{n}", ENDLESS) for n in range(10)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 256 * sum(pattern.states for pattern in kept) + (32 << 20)
