"""Names in DuckDB statements are quoted by DuckDB."""

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.duckdb.quoting import compose, name, names, same

identifiers = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@given(identifiers)
def test_a_quoted_name_is_that_name(identifier: str) -> None:
    statement = compose("SELECT 1 AS {name}", name=name(identifier))
    with duckdb.connect() as connection:
        description = connection.execute(statement).description
    assert description is not None
    assert description[0][0] == identifier


@given(identifiers, identifiers)
def test_quoted_names_do_not_escape_their_quotes(one: str, other: str) -> None:
    assert name(one).startswith('"')
    assert name(one).endswith('"')
    assert '"' not in name(one)[1:-1].replace('""', "")
    assert name(one, other) == f"{name(one)}.{name(other)}"


def test_lists_and_conditions() -> None:
    assert names(["a", "b c"]) == '"a", "b c"'
    assert names(["a", "b"], "s") == '"s"."a", "s"."b"'
    assert same("s", "t", [("c0", "id"), ("c1", "x")]) == (
        '"s"."c0" = "t"."id" AND "s"."c1" = "t"."x"'
    )


def test_braces_in_a_name_are_no_parts() -> None:
    assert compose("SELECT {name}", name=name("{name}")) == 'SELECT "{name}"'
