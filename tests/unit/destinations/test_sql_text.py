"""Names in DuckDB statements are quoted by DuckDB."""

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.duckdb.dialect import DuckDBDialect
from treadle.destinations.sql.text import compose

dialect = DuckDBDialect("data")

identifiers = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@given(identifiers)
def test_a_quoted_name_is_that_name(identifier: str) -> None:
    statement = compose("SELECT 1 AS {name}", name=dialect.quote(identifier))
    with duckdb.connect() as connection:
        description = connection.execute(statement).description
    assert description is not None
    assert description[0][0] == identifier


@given(identifiers, identifiers)
def test_quoted_names_do_not_escape_their_quotes(one: str, other: str) -> None:
    assert dialect.quote(one).startswith('"')
    assert dialect.quote(one).endswith('"')
    assert '"' not in dialect.quote(one)[1:-1].replace('""', "")
    assert dialect.quote(one, other) == f"{dialect.quote(one)}.{dialect.quote(other)}"


def test_lists_and_conditions() -> None:
    assert dialect.quote_all(["a", "b c"]) == '"a", "b c"'
    assert dialect.quote_all(["a", "b"], "s") == '"s"."a", "s"."b"'
    assert dialect.match("s", "t", [("c0", "id"), ("c1", "x")]) == (
        '"s"."c0" = "t"."id" AND "s"."c1" = "t"."x"'
    )


def test_braces_in_a_name_are_no_parts() -> None:
    assert compose("SELECT {name}", name=dialect.quote("{name}")) == 'SELECT "{name}"'
