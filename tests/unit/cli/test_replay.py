"""Where a table is built again."""

import pytest

from treadle.cli.replay import choose_schema
from treadle.errors import OperatorError


def test_a_schema_beside_the_source() -> None:
    assert choose_schema("shop", None, ["shop"]) == "shop__replay"
    assert choose_schema("shop", None, ["shop", "shop__replay"]) == "shop__replay_"
    assert choose_schema("shop", "again", ["shop"]) == "again"


@pytest.mark.parametrize("name", ["public", "main", "_treadle", "pg_temp", "", "A", "a b", "9"])
def test_a_schema_that_cannot_be(name: str) -> None:
    with pytest.raises(OperatorError, match="cannot be a schema to build in"):
        choose_schema("shop", name, ["shop"])


def test_a_schema_of_a_source() -> None:
    with pytest.raises(OperatorError, match="'shop' is the schema of a source"):
        choose_schema("shop", "shop", ["shop"])
