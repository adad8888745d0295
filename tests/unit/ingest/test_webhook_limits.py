"""What a webhook token may do, as a rule on values."""

from typing import Any

import pytest

from treadle.errors import RequestRefusedError
from treadle.ingest.webhook_endpoint import WebhookSettings, allows_import_tokens, limit_webhook
from treadle.store.model import WebhookScope

HOOK = WebhookSettings("data", ("id",), upsert=True)


@pytest.mark.parametrize(
    ("tables", "asked", "table"),
    [
        ((), None, "data"),
        ((), "data", "data"),
        (("data", "events"), None, "data"),
        (("events", "more"), None, "events"),
        (("events", "more"), "more", "more"),
    ],
)
def test_the_table_of_a_request(tables: tuple[str, ...], asked: str | None, table: str) -> None:
    found = limit_webhook(HOOK, WebhookScope(tables, None), asked)
    assert found == WebhookSettings(table, ("id",), upsert=False)


@pytest.mark.parametrize(
    ("tables", "asked"),
    [
        (("events",), "payroll"),
        (("events",), "Events"),
        (("events",), "events "),
        (("events",), ""),
        ((), ""),
        ((), "payroll"),
        ((), " \t"),
        (("events", "more"), "events,more"),
    ],
)
def test_a_table_that_the_token_does_not_name(tables: tuple[str, ...], asked: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        limit_webhook(HOOK, WebhookScope(tables, None), asked)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, True),
        ({"webhook": {}}, True),
        ({"webhook": {"import_tokens": True}}, True),
        ({"webhook": {"import_tokens": False}}, False),
        # Another setting of a wrong form does not turn it on again, and neither does an odd value.
        ({"webhook": {"import_tokens": False, "table": 5}}, False),
        ({"webhook": {"import_tokens": None}}, False),
        ({"webhook": {"import_tokens": "off"}}, False),
        ({"webhook": "odd"}, True),
    ],
)
def test_whether_import_tokens_work_in_the_url(settings: dict[str, Any], allowed: bool) -> None:
    assert allows_import_tokens(settings) is allowed
