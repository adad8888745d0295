"""Where a table is built again."""

import pytest

from treadle.cli.replay import schema_for
from treadle.errors import OperatorFault


def test_a_schema_beside_the_source() -> None:
    assert schema_for("shop", None, ["shop"]) == "shop__replay"
    assert schema_for("shop", None, ["shop", "shop__replay"]) == "shop__replay_"
    assert schema_for("shop", "again", ["shop"]) == "again"


@pytest.mark.parametrize("name", ["public", "main", "_treadle", "pg_temp", "", "A", "a b", "9"])
def test_a_schema_that_cannot_be(name: str) -> None:
    with pytest.raises(OperatorFault, match="cannot be a schema to build in"):
        schema_for("shop", name, ["shop"])


def test_a_schema_of_a_source() -> None:
    with pytest.raises(OperatorFault, match="'shop' is the schema of a source"):
        schema_for("shop", "shop", ["shop"])
