"""The walk by columns against a plain one, record by record."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.tables.executor import batch

from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.names import Namer
from treadle.tables.prepare.frame import Frame
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES

Place = tuple[tuple[str, ...], tuple[int, ...]]
Flat = dict[Place, dict[tuple[str, ColumnType], Any]]


class Plain:
    """One record, flattened the obvious way."""

    def __init__(self, record: Mapping[str, Any], profile: DestinationProfile) -> None:
        self.namer = Namer(profile, TableOptions())
        self.profile = profile
        self.rows: Flat = {((), ()): {}}
        self.reasons: set[str] = set()
        self.leaves: dict[tuple[Place, str], str] = {}
        self.walk(((), ()), None, record)

    def walk(self, place: Place, prefix: str | None, record: Mapping[str, Any]) -> None:
        siblings: dict[str, str] = {}
        for key, value in record.items():
            if value is None:
                continue
            name = self.namer.name_field(prefix, key)
            if name.rejection:
                self.reasons.add(name.rejection.text)
                continue
            if name.omission:
                continue
            if name.folded in siblings:
                self.reasons.add(f"Field collision on {siblings[name.folded]}")
            siblings.setdefault(name.folded, name.full)
            if isinstance(value, dict):
                self.walk(place, name.full, value)
            elif isinstance(value, list):
                self.leaf(place, name.folded, name.full)
                self.array(place, name.full, value)
            elif name.column_rejection:
                self.reasons.add(name.column_rejection.text)
            elif not name.column_omission:
                self.leaf(place, name.folded, name.full)
                self.scalar(place, name.folded, value, key == "id" and not place[0])

    def leaf(self, place: Place, folded: str, full: str) -> None:
        if (place, folded) in self.leaves:
            self.reasons.add(f"Field collision on {self.leaves[place, folded]}")
        self.leaves.setdefault((place, folded), full)

    def array(self, place: Place, part: str, elements: Sequence[Any]) -> None:
        path = (*place[0], part)
        if self.namer.name_subtable("t", path)[1]:
            return
        folded = tuple(map(self.profile.fold, path))
        for index, element in enumerate(elements):
            if element is None:
                continue
            at = (folded, (*place[1], index))
            self.rows.setdefault(at, {})
            if isinstance(element, dict):
                self.walk(at, None, element)
            elif isinstance(element, list):
                self.leaf(at, "value", "value")
                self.array(at, "value", element)
            else:
                self.leaf(at, "value", "value")
                self.scalar(at, "value", element, key=False)

    def scalar(self, place: Place, folded: str, value: object, key: bool) -> None:
        row = self.rows[place]
        if isinstance(value, bool):
            row[folded, ColumnType.BOOLEAN] = value
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                self.reasons.add(f"integer out of range for {self.profile.display_name} on {value}")
            row[folded, ColumnType.BIGINT] = value
        elif isinstance(value, float):
            row[folded, ColumnType.DOUBLE] = value
        else:
            assert isinstance(value, str)
            if key and "\0" in value:
                self.reasons.add(f"NUL character in key on {folded}")
            row[folded, ColumnType.TEXT] = value.replace("\0", "")


def flattened(prepared: PreparedLoad) -> Iterator[tuple[int, Flat]]:
    """(index of the record, its rows) as the columns have them."""
    for group in prepared.groups:
        rows: list[Flat] = [{} for _ in range(group.size)]
        for frame in group.frames:
            for number, place in enumerate(_places(frame, prepared.profile)):
                at = frame.root_rows[number] if frame.path else number
                rows[at][place] = {
                    (folded, type_): to_values(column)[number]
                    for folded, each in frame.fields.items()
                    for type_, column in each.columns.items()
                    if to_values(column)[number] is not None
                }
        yield from zip(group.indexes, rows, strict=True)


def _places(frame: Frame, profile: DestinationProfile) -> list[Place]:
    path = tuple(map(profile.fold, frame.path))
    levels = list(zip(*frame.levels, strict=True)) if frame.path else [()] * frame.size
    return [(path, tuple(level)) for level in levels]


NAMES = ["a", "A", "b", "a__b", "e-mail", "email", "x__st", "_sdc_x", "", "c" * 60, "value", "é-É"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -5, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "a\0b", "日本 😀", "2024-01-01T00:00:00Z"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    ),
    max_leaves=6,
)
RECORDS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


@pytest.mark.parametrize("profile", [POSTGRES, DUCKDB], ids=["pg", "duckdb"])
@given(records=st.lists(RECORDS, min_size=1, max_size=6), repeat=st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_columns_hold_what_the_records_hold(
    profile: DestinationProfile, records: list[dict[str, Any]], repeat: bool
) -> None:
    if repeat:  # one shape, as most loads have
        records = [dict.fromkeys(records[0]) | record for record in records]
    rows = [(number, {"id": number, **record}) for number, record in enumerate(records)]
    prepared = prepare_load(
        [LogBatch(batch(rows), 0, 0)], profile=profile, options=TableOptions(), schema="s"
    )
    plain = {number: Plain(record, profile) for number, record in rows}
    found = dict(flattened(prepared))
    assert found == {n: each.rows for n, each in plain.items() if not each.reasons}
    reasons = {r.index: r.reason for r in prepared.rejections if r.entry >= 0}
    assert sorted(reasons) == [n for n, each in plain.items() if each.reasons]
    for number, reason in reasons.items():
        assert reason in plain[number].reasons


@given(records=st.lists(RECORDS, min_size=1, max_size=5), cut=st.integers(0, 5))
@settings(max_examples=examples(100), deadline=None)
def test_batch_boundaries_never_show(records: list[dict[str, Any]], cut: int) -> None:
    rows = [(number, {"id": number, **record}) for number, record in enumerate(records)]
    whole = prepare_load(
        [LogBatch(batch(rows), 0, 0)], profile=DUCKDB, options=TableOptions(), schema="s"
    )
    parts = [LogBatch(batch(rows[:cut]), 0, 0), LogBatch(batch(rows[cut:]), 1, 0)]
    halves = prepare_load(parts, profile=DUCKDB, options=TableOptions(), schema="s")
    joined = {}
    for group in halves.groups:
        joined = {
            index + (cut if entry else 0): flat
            for entry, (index, flat) in zip(group.entries, flattened(halves), strict=True)
        }
    assert joined == dict(flattened(whole))
