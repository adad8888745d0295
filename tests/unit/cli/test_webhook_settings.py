"""The settings of webhooks as the command and a declaration take them."""

import pytest

from treadle.cli.command import UsageError
from treadle.cli.webhook import check_webhook_value, parse_assignments
from treadle.errors import OperatorError
from treadle.records import limits
from treadle.store import token_rules


def test_a_table_has_a_name_of_a_bounded_length() -> None:
    assert parse_assignments(["table=" + "é" * 1024]) == {"table": "é" * 1024}
    check_webhook_value("table", "é" * 1024)
    for name in ("é" * 1025, "  "):
        with pytest.raises(UsageError, match="at most 1024 characters"):
            parse_assignments([f"table={name}"])
        with pytest.raises(OperatorError, match="name of a table"):
            check_webhook_value("table", name)
    assert parse_assignments(["table="]) == {"table": None}


@pytest.mark.parametrize("name", ["key", "provider", "table", "upsert"])
@pytest.mark.parametrize("value", [[1], {}, 1.5, None, ""])
def test_a_value_of_another_type_is_told(name: str, value: object) -> None:
    with pytest.raises(OperatorError, match=f"webhook.{name} is to be "):
        check_webhook_value(name, value)


def test_a_token_names_tables_that_can_be_sent() -> None:
    assert token_rules.TABLE_CHARACTERS_MAX == limits.TABLE_CHARACTERS_MAX
