"""Where a table and its loads part."""

import dataclasses

import pytest

from treadle.maintenance.audit.differences import RecordPlace, TableEvidence, find_differences

APPENDED = TableEvidence("web", 1, "events", rows=5, loads={10: 3, 20: 2}, batches={10: 3, 20: 2})
KEYED = dataclasses.replace(APPENDED, replaces=True)


def kinds(evidence: TableEvidence, **changes: object) -> dict[str, int]:
    return {
        one.kind: one.count
        for one in find_differences(dataclasses.replace(evidence, **changes))  # type: ignore[arg-type]
    }


def test_rows_as_they_were_loaded_do_not_differ() -> None:
    assert kinds(APPENDED) == {}
    assert kinds(KEYED) == {}


@pytest.mark.parametrize(
    ("batches", "appended", "keyed"),
    [
        ({10: 2, 20: 2}, {"short": 1}, {}),
        ({20: 2}, {"short": 3}, {}),
        ({10: 4, 20: 1}, {"short": 1, "surplus": 1}, {"surplus": 1}),
        ({10: 3, 15: 1, 20: 2}, {"unknown": 1}, {"unknown": 1}),
    ],
)
def test_each_load_is_counted_by_itself(
    batches: dict[int, int], appended: dict[str, int], keyed: dict[str, int]
) -> None:
    assert kinds(APPENDED, batches=batches) == appended
    assert kinds(KEYED, batches=batches) == keyed


def test_keys_without_a_row_and_with_an_older_one_are_named() -> None:
    places = [RecordPlace(number, {"id": number, "shop": "é"}) for number in range(1, 8)]
    found = find_differences(
        dataclasses.replace(KEYED, missing=places, outdated=places[:1], duplicates=2)
    )
    assert [(one.kind, one.count) for one in found] == [
        ("missing", 7),
        ("outdated", 1),
        ("doubled", 2),
    ]
    assert found[0].text.startswith(
        "7 records of the log have no row: id 1, shop 'é' (position 1); id 2"
    )
    assert found[0].text.endswith(" ...")
    assert found[1].text.endswith("id 1, shop 'é' (position 1)")


def test_a_table_that_is_gone_lost_what_was_loaded_into_it() -> None:
    assert kinds(APPENDED, exists=False, batches={}) == {"gone": 5}
    assert kinds(APPENDED, exists=False, loads={10: 0}, batches={}) == {}


def test_what_was_not_compared_does_not_differ() -> None:
    assert kinds(APPENDED, batches={}, skipped="it is away") == {}
