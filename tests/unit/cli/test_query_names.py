"""Names in statements, and what is told below a table."""

import pytest

from treadle.cli.query import ShownRows, describe_shown, without_proposal
from treadle.cli.query_names import (
    LIST_TABLES,
    find_whole_table,
    propose_table,
    replace_show_tables,
)
from treadle.questions.column_order import order_columns


@pytest.mark.parametrize("statement", ["show tables", " SHOW TABLES; ", "show all tables\n"])
def test_show_tables_lists_those_of_all_schemas(statement: str) -> None:
    assert replace_show_tables(statement) == LIST_TABLES


@pytest.mark.parametrize("statement", ["show tables from x", "select 'show tables'", ""])
def test_other_statements_stay(statement: str) -> None:
    assert replace_show_tables(statement) == statement


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("select * from orders", (None, "orders")),
        (
            'SELECT *\nFROM "import_api" . "or""ders" WHERE id > 1 LIMIT 3;',
            ("import_api", 'or"ders'),
        ),
        ("from import_api.orders", ("import_api", "orders")),
        ("select id, * from orders", None),
        ("select * from a, b", None),
        ("select * from a join b using (id)", None),
        ("select * from a union select * from b", None),
        ("select * from (select 1)", None),
        ("delete from orders", None),
    ],
)
def test_statements_that_show_a_whole_table(
    statement: str, table: tuple[str | None, str] | None
) -> None:
    assert find_whole_table(statement) == table


def test_the_key_comes_first_and_treadles_columns_last() -> None:
    columns = ("_sdc_batched_at", "_sdc_sequence", "customer", "id", "price")
    order = order_columns(columns, {"id"})
    assert [columns[place] for place in order] == [
        *("id", "customer", "price", "_sdc_batched_at", "_sdc_sequence")
    ]


@pytest.mark.parametrize(
    ("statement", "proposed"),
    [
        ("select * from orders", 'did you mean "import_api"."orders"?'),
        ("select * from ORDERS o", 'did you mean "import_api"."orders"?'),
        ("select * from main.orders", 'did you mean "import_api"."orders"?'),
        ("select * from import_api.oders", 'did you mean "import_api"."orders"?'),
        ("select 1 from items", 'did you mean "import_api"."items" or "web"."items"?'),
        (
            "select * from import_api.orders join costumers on true",
            'did you mean "web"."customers"?',
        ),
        ("select * from xyzzy", None),
        ("select * from read_csv('x')", None),
    ],
)
def test_tables_that_a_statement_may_have_meant(statement: str, proposed: str | None) -> None:
    known = [
        *(("import_api", "orders"), ("import_api", "items")),
        *(("web", "items"), ("web", "customers")),
    ]
    assert propose_table(statement, known) == proposed


def test_the_databases_own_guess_is_left_out() -> None:
    words = 'Catalog Error: Table with name orders does not exist! Did you mean "pg_index"?'
    assert without_proposal(words) == "Catalog Error: Table with name orders does not exist!"


ROWS: list[tuple[object, ...]] = [(n, n) for n in range(1_000)]


@pytest.mark.parametrize(
    ("shown", "fitting", "on_terminal", "told"),
    [
        (ShownRows(("a", "b"), [], total=0), 2, False, "no rows"),
        (ShownRows(("a", "b"), ROWS[:1], total=1), 2, True, "1 row"),
        (ShownRows(("a", "b"), ROWS, total=1_000), 2, True, "1,000 rows"),
        (ShownRows(("a", "b"), ROWS, total=1_000), 2, False, None),
        (
            ShownRows(("a", "b"), ROWS, more=True, total=1_000_000),
            *(2, False, "1,000 of 1,000,000 rows; --csv for all"),
        ),
        (
            ShownRows(("a", "b"), ROWS, more=True),
            *(2, False, "the first 1,000 rows of more; --csv for all"),
        ),
        (
            ShownRows(("a", "b"), ROWS[:2], total=2),
            *(1, True, "2 rows\n1 column not shown, as the terminal is narrow: b; --csv for all"),
        ),
    ],
)
def test_what_is_told_below_a_table(
    shown: ShownRows, fitting: int, on_terminal: bool, told: str | None
) -> None:
    assert describe_shown(shown, fitting, on_terminal=on_terminal) == told
