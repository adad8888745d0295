import json

from hypothesis import given
from hypothesis import strategies as st

from treadle.telemetry.span import (
    LOAD_SPANS_MAX,
    EntryTraces,
    Span,
    TracedEntry,
    TracedLoad,
    render_spans,
)

LOAD = TracedLoad("load-1", 7, "shop", "orders", 30, 40, 2, 1)


def test_push_load_and_hook_are_one_trace_whoever_tells_of_them() -> None:
    worker, loader, courier = EntryTraces("log"), EntryTraces("log"), EntryTraces("log")
    [push] = worker.make_push_spans(5, 1, 7, 10, 20)
    [load] = loader.make_load_spans(LOAD, [TracedEntry(5, 3)])
    hook = courier.make_hook_span("load-1", 5, 2, "delivery", 1, 50, 60, 200, None)
    assert hook is not None
    assert push.trace_id == load.trace_id == hook.trace_id
    assert (push.parent_id, load.parent_id, hook.parent_id) == (b"", push.span_id, load.span_id)
    assert len({push.span_id, load.span_id, hook.span_id}) == 3
    assert (len(push.trace_id), len(push.span_id)) == (16, 8)


def test_each_entry_of_a_request_has_a_trace_of_its_own() -> None:
    spans = EntryTraces("log").make_push_spans(5, 3, 7, 10, 20)
    assert len({span.trace_id for span in spans}) == 3
    assert {span.attributes["treadle.request.position"] for span in spans} == {5}
    [load] = EntryTraces("log").make_load_spans(LOAD, [TracedEntry(7, 1)])
    assert load.parent_id == spans[2].span_id


def test_another_log_has_other_traces() -> None:
    assert EntryTraces("a").name_trace(5) != EntryTraces("b").name_trace(5)


@given(st.integers(1, 2**63 - 1), st.floats(0, 1))
def test_who_is_traced_is_the_same_everywhere_and_grows_with_the_ratio(
    position: int, ratio: float
) -> None:
    traced = EntryTraces("log", ratio).is_traced(position)
    assert traced == EntryTraces("log", ratio).is_traced(position)
    assert not traced or EntryTraces("log", min(1.0, ratio + 0.1)).is_traced(position)
    assert EntryTraces("log", 1.0).is_traced(position)
    assert not EntryTraces("log", 0.0).is_traced(position)


def test_the_ratio_is_about_the_part_that_is_traced() -> None:
    traces = EntryTraces("log", 0.1)
    assert 700 < sum(traces.is_traced(position) for position in range(10_000)) < 1_300


def test_a_load_of_many_entries_has_so_many_spans_at_most() -> None:
    entries = [TracedEntry(position, 1) for position in range(10_000)]
    assert len(EntryTraces("log").make_load_spans(LOAD, entries)) == LOAD_SPANS_MAX


def test_spans_as_a_collector_takes_them() -> None:
    span = Span(b"\1" * 16, b"\2" * 8, b"", "push", 2, 10, 5, {"a": 7, "b": "x"}, "no")
    told = json.loads(json.dumps(render_spans([span], "1.0", "worker")))
    [resource] = told["resourceSpans"]
    names = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
    assert names["service.name"] == {"stringValue": "treadle"}
    assert names["treadle.process"] == {"stringValue": "worker"}
    [shown] = resource["scopeSpans"][0]["spans"]
    assert shown == {
        "traceId": "01" * 16,
        "spanId": "02" * 8,
        "parentSpanId": "",
        "name": "push",
        "kind": 2,
        "startTimeUnixNano": "10000",
        "endTimeUnixNano": "10000",
        "attributes": [
            {"key": "a", "value": {"intValue": "7"}},
            {"key": "b", "value": {"stringValue": "x"}},
        ],
        "status": {"code": 2, "message": "no"},
    }
