"""The ways out of a stop."""

import pytest

from treadle.console.table_remedies import list_remedies
from treadle.tables.options import parse_option
from treadle.tables.prepare.key_mismatch import KEY_TYPE_DIFFERS, KEYS_DIFFER


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (f"{KEYS_DIFFER}: the table has the key id, record 7.0 has the key a", "key_change=append"),
        (f"{KEY_TYPE_DIFFERS}: the key id is text", "key_types=reject"),
        ("Table t is not in the contract, which is frozen; found", "contract.tables=evolve"),
        ("Column c is not in the contract, which is frozen; found", "contract.columns=evolve"),
        ("Type text of column c is not in the contract, which is frozen", "contract.types=evolve"),
    ],
)
def test_a_known_stop_has_two_ways_out(error: str, words: str) -> None:
    first, second = list_remedies(error)
    assert first.words == words
    assert second.drops or second.option is not None
    for way in (first, second):
        if way.option is not None:
            assert parse_option(*way.option) == way.option[1]  # it can be set


def test_another_stop_has_what_its_sentence_says() -> None:
    assert list_remedies("The option split_mode cannot be x") == ()
