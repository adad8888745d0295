"""Columns of a field that is split become one expression; what it gives is tested in databases."""

import pytest

from treadle.dbt_project.split_folding import find_folded_type, fold_columns
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column

BIGINT, DECIMAL, DOUBLE = ColumnType.BIGINT, ColumnType.DECIMAL, ColumnType.DOUBLE
TEXT, BOOLEAN = ColumnType.TEXT, ColumnType.BOOLEAN


@pytest.mark.parametrize(
    ("types", "folded"),
    [
        ([BOOLEAN], BOOLEAN),
        ([BIGINT, DOUBLE], DOUBLE),
        ([BIGINT, DECIMAL], DECIMAL),
        ([BIGINT, DECIMAL, DOUBLE], DOUBLE),
        ([BIGINT, TEXT], TEXT),
        ([BIGINT, BOOLEAN], TEXT),
    ],
)
def test_numbers_stay_numbers(types: list[ColumnType], folded: ColumnType) -> None:
    assert find_folded_type(types) is folded


def test_one_column_is_itself() -> None:
    assert fold_columns([Column('a"b', "a", TEXT)], "child.") == 'child."a""b"'


def test_integers_and_doubles_are_doubles() -> None:
    columns = [Column("p__bi", "p", BIGINT), Column("p__do", "p", DOUBLE)]
    assert fold_columns(columns) == 'coalesce(cast("p__bi" as double precision), "p__do")'


def test_a_name_with_braces_is_not_filled_in() -> None:
    columns = [Column("{name}", "p", BOOLEAN), Column("p__st", "p", TEXT)]
    assert fold_columns(columns) == ('coalesce(cast({{ \'"\\x7bname\\x7d"\' }} as text), "p__st")')
