"""One trace of OpenTelemetry from a push to its row and its hook."""

from pathlib import Path
from typing import Any

from tests.servers.receiver import Receiver, receiving
from tests.servers.treadle import Client, TreadleServer, eventually

HOOKS = "/notifications/public/v1/api/hooks"


def spans(collector: Receiver) -> dict[str, Any]:
    """By name, as the collector got them."""
    return {
        span["name"]: span
        for seen in list(collector.seen)
        for resource in seen.body["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def test_a_push_its_load_and_its_hook_are_one_trace(tmp_path: Path) -> None:
    with receiving() as collector, receiving() as receiver:
        settings = {"hook_urls": "any", "load_age_seconds": "0.1", "otel_endpoint": collector.url}
        with TreadleServer(tmp_path / "data", settings=settings) as server:
            client = Client(server, *server.account())
            _, token = client.create_source("Shop")
            body = {"type": "post_load", "config": {"url": receiver.url}}
            made = client.http.post(HOOKS, json=body, headers=client.account)
            assert made.status_code == 200
            assert client.push(token, [{"id": 1}], table="orders").status_code == 201
            eventually(lambda: spans(collector).keys() >= {"push", "load shop", "hook"}, 120)
        found = spans(collector)
    push, load, hook = found["push"], found["load shop"], found["hook"]
    assert push["traceId"] == load["traceId"] == hook["traceId"]
    assert (push["parentSpanId"], load["parentSpanId"]) == ("", push["spanId"])
    assert hook["parentSpanId"] == load["spanId"]
    told = {one["key"]: one["value"] for one in load["attributes"]}
    assert told["treadle.table"] == {"stringValue": "orders"}
    assert told["treadle.records"] == {"intValue": "1"}
    assert int(push["startTimeUnixNano"]) <= int(load["endTimeUnixNano"])
