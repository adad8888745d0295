"""Instants, decimals, generated keys, names: the rules of single values."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import InternalError
from treadle.tables.arrow_column import to_values
from treadle.tables.model import TableOptions
from treadle.tables.names import (
    Namer,
    name_auxiliary,
    name_stage_relation,
    name_tombstones,
)
from treadle.tables.plan.generated_keys import generate_keys
from treadle.tables.prepare import decimals, timestamp_text
from treadle.tables.profiles import DUCKDB, ICEBERG, ICEBERG_PLAIN, POSTGRES
from treadle.tables.rejection_reason import RejectionCode
from treadle.tables.schema_owner import SchemaOwner
from treadle.timestamps import FIRST_INSTANT, LAST_INSTANT, format_exact, from_datetime

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01 00:00:00z", "2024-01-01T00:00:00Z"),
        ("2024-01-01t01:30:00+01:30", "2024-01-01T00:00:00Z"),
        ("2024-01-01T01:30:00+0130", "2024-01-01T00:00:00Z"),
        ("2023-12-31T19:00:00-0500", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.1234565Z", "2024-01-01T00:00:00.123457Z"),
        ("2024-01-01T00:00:00.12345649999999999Z", "2024-01-01T00:00:00.123456Z"),
        ("2023-12-31T23:59:59.9999996Z", "2024-01-01T00:00:00Z"),
        ("2023-12-31T23:59:60Z", "2024-01-01T00:00:00Z"),
        ("2023-12-31T24:00:00Z", "2024-01-01T00:00:00Z"),
        ("2023-12-31T24:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-01:00", "+10000-01-01T00:59:59Z"),
        ("0001-01-01T00:00:00+01:00", "0000-12-31T23:00:00Z"),
        ("0000-02-29T12:00:00Z", "0000-02-29T12:00:00Z"),
        ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00Z"),
    ],
)
def test_date_time_texts(text: str, iso: str) -> None:
    found = timestamp_text.parse_timestamp(text)
    assert found is not None
    assert format_exact(found) == iso


@pytest.mark.parametrize(
    "text",
    [
        "0000-02-30T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-01T25:00:00Z",
        "2024-01-01T24:00:01Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+00:60",
    ],
)
def test_times_that_do_not_exist(text: str) -> None:
    with pytest.raises(timestamp_text.TimestampRangeError):
        timestamp_text.parse_timestamp(text)
    assert timestamp_text.parse_timestamp_column([text]) is None


@pytest.mark.parametrize(
    "text",
    ["", "2024-01-01", "2024-01-01T00:00Z", "1 Jan 2024", "1704067200", "20240101T000000Z",
     "2024-01-01T00:00:00.Z", "٢٠٢٤-01-01T00:00:00Z", "2024-01-01T00:00:00Z\n"],
)  # fmt: skip
def test_other_texts_are_no_date_times(text: str) -> None:
    assert timestamp_text.parse_timestamp(text) is None
    assert timestamp_text.parse_timestamp_column([text]) is None


@given(st.lists(st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))), min_size=1))
def test_a_column_at_once_is_as_one_by_one(moments: list[datetime | None]) -> None:
    texts = [None if m is None else m.isoformat().replace("+00:00", "Z") for m in moments]
    found = timestamp_text.parse_timestamp_column(texts)
    assert found is not None
    column = to_values(found)
    assert column == [
        None if text is None else timestamp_text.parse_timestamp(text) for text in texts
    ]
    assert column == [None if m is None else from_datetime(m) for m in moments]


FORMS = st.from_regex(
    r"\A(0000|0001|2024|9999|\+2024)-(01|02|2)-(29|31|9)[Tt _](09|24|9)(:?00(:?(59|60|5)"
    r"([.,]\d{0,7})?)?)?(Z|z| Z|[+-]01:?(00)?|\[UTC\])?\Z"
)


@given(FORMS | st.text("0123456789-:.TZ+ ", min_size=19, max_size=28))
@settings(max_examples=examples(2_000))
def test_what_a_column_takes_is_a_date_time_of_ours(text: str) -> None:
    found = timestamp_text.parse_timestamp_column([text, None, "2024-01-01T00:00:00Z"])
    if found is not None:
        column = to_values(found)
        assert column == [timestamp_text.parse_timestamp(text), None, 1_704_067_200_000_000]
        assert column[0] is not None


OLDEST, LATEST = -210_866_803_200_000_000, 9_224_318_015_999_999_999


@given(st.integers(OLDEST, LATEST) | st.integers(FIRST_INSTANT - 10**13, LAST_INSTANT + 10**13))
def test_instants_are_written_as_they_are_read(microseconds: int) -> None:
    text = format_exact(microseconds)
    if text[0].isdigit():
        assert timestamp_text.parse_timestamp(text) == microseconds


def test_years_before_and_after_four_digits() -> None:
    assert format_exact(OLDEST) == "-4713-11-24T00:00:00Z"
    assert format_exact(LATEST) == "+294276-12-31T23:59:59.999999Z"


def test_times_beyond_what_is_kept_are_no_times_of_extraction() -> None:
    assert timestamp_text.find_timestamp("0001-01-01T00:00:00Z") == FIRST_INSTANT
    assert timestamp_text.find_timestamp("9999-12-31T23:59:59.9999994Z") == LAST_INSTANT
    beyond = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999995Z", "0000-01-01T00:00:00Z"]
    assert list(map(timestamp_text.find_timestamp, beyond)) == [None] * 3


@pytest.mark.parametrize(
    ("text", "postgres", "duckdb"),
    [
        ("1.50", "1.50", "1.50"),
        ("0.1234567895", "0.1234567895", "0.123456790"),
        ("-0.0000000005", "-0.0000000005", "-1E-9"),
        ("99999999999999999999999999999.9999999999", None, "rejected"),
        ("1e40", "1E+40", "rejected"),
        ("1e-20", "1E-20", "0E-9"),
        ("NaN", "rejected", "rejected"),
        ("-Infinity", "rejected", "rejected"),
        ("1e131072", "rejected", "rejected"),
        ("1e99999999999999999999", "rejected", "rejected"),
        ("1e-99999999999999999999", "0", "0"),
    ],
)
def test_decimals_as_each_destination_holds_them(
    text: str, postgres: str | None, duckdb: str
) -> None:
    number = decimals.parse_decimal(text)
    assert number is not None
    for profile, expected in ((POSTGRES, postgres or text), (DUCKDB, duckdb)):
        found = decimals.fit_decimal(number, profile)
        assert found == (None if expected == "rejected" else Decimal(expected))


@pytest.mark.parametrize("text", ["", "1_000", " 1", "1,5", "abc", "0x10", "٣", "1e", "."])
def test_texts_that_are_no_decimals(text: str) -> None:
    assert decimals.parse_decimal(text) is None


def test_long_integers_have_digits() -> None:
    assert decimals.format_integer(10**5000) == "1" + "0" * 5000
    assert decimals.format_integer(-7) == "-7"


def test_generated_keys_are_uuids_that_tell_records_apart() -> None:
    entries, indexes = [0, 0, 1, 1], [0, 1, 0, 20_000]
    keys = generate_keys("log", [5, 2**54 - 1], entries, indexes)
    assert keys == generate_keys("log", [5, 2**54 - 1], entries, indexes)
    assert len({*keys, *generate_keys("other", [5, 2**54 - 1], entries, indexes)}) == 8
    for key in keys:
        assert str(UUID(key)) == key
        assert UUID(key).version == 8
        assert UUID(key).variant == "specified in RFC 4122"
    assert generate_keys("log", [5], [], []) == []


def test_generated_keys_know_their_limits() -> None:
    with pytest.raises(InternalError, match="54 bits"):
        generate_keys("log", [2**54], [0], [0])
    with pytest.raises(InternalError, match="at most 1048576 records"):
        generate_keys("log", [1], [0], [2**20])


def test_names_of_postgres() -> None:
    namer = Namer(POSTGRES, TableOptions())
    assert namer.name_field(None, "e-mail.x!").full == "email" + "x"
    assert namer.name_field(None, "имя поля 1").full == "имя поля 1"
    assert namer.name_field("a b", "c$").full == "a b__c"
    assert namer.name_field(None, "!!").omission == (
        'Column name "!!" is empty for PostgreSQL',
        RejectionCode.NAME_EMPTY,
        None,
    )
    assert namer.name_field(None, "é" * 29 + "x").column_omission is None
    assert namer.name_field(None, "é" * 30).column_omission is not None
    assert namer.name_table("t" * 63) == ("t" * 63, None)
    assert namer.name_table("é!" * 32)[1] == (
        f"Table name {'é' * 32} is too long for PostgreSQL",
        RejectionCode.NAME_TOO_LONG,
        None,
    )
    assert namer.name_table("!")[1] == (
        'Table name "!" is empty for PostgreSQL',
        RejectionCode.NAME_EMPTY,
        None,
    )
    assert namer.name_table("_RJM_x")[1] == (
        "Table name _RJM_x is reserved",
        RejectionCode.NAME_RESERVED,
        None,
    )


@pytest.mark.parametrize("sent", ["sdc_rejected", " SDC-rejected", "sdc€rejected"])
def test_a_table_that_the_destination_keeps_is_no_clients(sent: str) -> None:
    reserved = ("Table name sdc_rejected is reserved", RejectionCode.NAME_RESERVED, None)
    assert Namer(ICEBERG_PLAIN, TableOptions()).name_table(sent) == ("sdc_rejected", reserved)
    assert Namer(ICEBERG, TableOptions()).name_table("sdc_rejected") == ("sdc_rejected", None)
    strips = Namer(ICEBERG_PLAIN, TableOptions(leading_nonletter="strip"))
    assert strips.name_table("_sdc_rejected") == ("sdc_rejected", reserved)


def test_names_of_duckdb_fold_ascii_only() -> None:
    assert DUCKDB.fold("ÉaBé") == "Éabé"
    assert POSTGRES.fold("aB") == "aB"


def test_leading_characters_may_be_stripped() -> None:
    namer = Namer(POSTGRES, TableOptions(leading_nonletter="strip"))
    assert namer.name_field(None, "1d_click").full == "d_click"
    assert namer.name_field(None, "_x").full == "x"
    assert namer.name_field(None, "123").omission is not None


def test_long_names_may_be_hashed() -> None:
    namer = Namer(POSTGRES, TableOptions(long_names="hash"))
    one, two = namer.name_field(None, "c" * 60), namer.name_field(None, "c" * 61)
    assert one.full != two.full
    assert len(one.full) == 59
    assert one.column_omission is None
    assert (
        one.full == Namer(POSTGRES, TableOptions(long_names="hash")).name_field(None, "c" * 60).full
    )
    assert len(namer.name_field(None, "é" * 40).full.encode()) <= 59
    assert len(namer.name_table("t" * 80)[0]) == 63
    assert namer.name_subtable("t", ("a" * 90,))[1] is None
    assert len(namer.name_source_key("k" * 59)[0]) == 63


OWNER = SchemaOwner("0d2c0e0e-0000-4000-8000-000000000009", 1, 7)


def test_names_of_private_relations_fit_and_differ() -> None:
    owners = [
        OWNER,
        replace(OWNER, source_id=8),
        replace(OWNER, account_id=2),
        replace(OWNER, installation_id=""),
    ]
    tables = ["t" * 100, "t" * 99, "\0", "\ud800", "", "ü" * 40, "a\0b", "A"]
    names = [
        *(name_stage_relation(one, "s", t, -(2**63), ()) for one in owners for t in tables),
        name_stage_relation(OWNER, "s", "t", 1, ("a" * 100, "b")),
        name_stage_relation(OWNER, "s", "t", 1, ("a" * 100, "c")),
        name_stage_relation(OWNER, "s", "t", 1, ("a" * 100 + "\0c",)),
        name_stage_relation(OWNER, "s", "t", 2, ("a" * 100, "c")),
        name_stage_relation(OWNER, "s2", "t", 1, ()),
        *(name_tombstones(one, "s", t) for one in owners for t in tables),
        name_tombstones(OWNER, "s2", "t"),
        name_auxiliary(OWNER, "_treadle_", "s", "t"),
        name_auxiliary(OWNER, "pkey_", "s", "t"),
    ]
    assert len(set(names)) == len(names)
    assert {len(name.rpartition("_")[2]) for name in names} == {52}  # 256 bits, five a letter
    assert max(map(len, names)) == 63
    assert all(name.isascii() and name.islower() for name in names)
