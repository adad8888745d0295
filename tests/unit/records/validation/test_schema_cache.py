"""The latest schemas are kept, within their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.records.validation.effort import Effort, EffortSpentError
from treadle.records.validation.schema_cache import SchemaCache
from treadle.records.validation.schema_validator import SchemaValidator


class Loaded:
    """What `load` makes of a text."""


def load(schema: bytes, effort: Effort) -> tuple[Loaded, int]:
    effort.spend(len(schema))
    return Loaded(), 100 * len(schema)


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(2_000, 20_000))
def test_no_more_is_kept_than_fits(sizes: list[int], most: int) -> None:
    cache = SchemaCache(load, most)
    for size in sizes:
        cache.get_loaded(b"x" * size)
        assert 0 <= cache.held_bytes <= most


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    cache = SchemaCache(load, 10_000)
    used = cache.get_loaded(b"used")
    unused = cache.get_loaded(b"unused")
    for number in range(100):
        cache.get_loaded(b"%05d" % number)
        assert cache.get_loaded(b"used") is used
    assert cache.get_loaded(b"unused") is not unused


def test_a_schema_that_took_too_much_is_not_tried_again_with_as_little() -> None:
    tries = 0

    def fail(schema: bytes, effort: Effort) -> tuple[Loaded, int]:
        nonlocal tries
        tries += 1
        return load(schema, effort)

    cache = SchemaCache(fail)
    for _ in range(3):
        with pytest.raises(EffortSpentError):
            cache.get_loaded(b"x" * 100, Effort(50))
    assert tries == 1
    with pytest.raises(EffortSpentError):
        cache.get_loaded(b"x" * 100, Effort(60))
    assert tries == 2
    found = cache.get_loaded(b"x" * 100, Effort(200))
    assert cache.get_loaded(b"x" * 100, Effort(0)) is found


def test_a_long_text_and_a_large_schema_are_not_kept() -> None:
    cache = SchemaCache(load, 10_000)
    assert cache.get_loaded(b"x" * 30) is not cache.get_loaded(b"x" * 30)
    assert cache.get_loaded(b"x" * 70_000) is not cache.get_loaded(b"x" * 70_000)
    assert cache.held_bytes == 0


def test_a_schema_with_patterns_counts_for_what_they_take() -> None:
    plain = SchemaValidator({"properties": {"a": {"type": "string"}}})
    tested = SchemaValidator({"properties": {"a": {"pattern": r"\p{L}{100}"}}})
    assert plain.held_bytes < 100_000
    assert tested.held_bytes > 8_000_000
