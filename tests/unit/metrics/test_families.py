"""What a monitor is told."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from treadle.metrics import families as module
from treadle.metrics.families import (
    OTHER_TABLES,
    DestinationSnapshot,
    HookSnapshot,
    MemberLabels,
    MetricsSnapshot,
    ProcessSnapshot,
    QuotaSnapshot,
    TableSnapshot,
    build_families,
    render_metrics,
    select_account,
)
from treadle.metrics.request_counter import COUNTER_NAMES, STATUSES, name_counter, name_endpoint
from treadle.store.membership import UnitCounts

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"

ORDERS = TableSnapshot(
    "web", 2, 'odd "name"\\\n', 10, 5, 2, 1, 2, 1, 4_000_000, 1, 3, 4, error=True, stopped=False
)


def samples(seen: MetricsSnapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(render_metrics(seen).decode())
        for sample in family.samples
    }


def test_every_count_is_told_under_its_name() -> None:
    found = samples(
        MetricsSnapshot(
            now=10_000_000,
            version="1",
            tables=[ORDERS],
            destinations=[DestinationSnapshot(1, "postgres", "here", up=False)],
            log_used=7,
            log_free=8,
            counts={"push 201": 5, "append_failures": 6},
        )
    )
    table = {("source", "web"), ("source_id", "2"), ("table", 'odd "name"\\\n')}

    def value(name: str, *labels: tuple[str, str]) -> float:
        return found[f"treadle_{name}", frozenset(labels)]

    assert {
        name: value(name, *table)
        for name in (
            "records_accepted_total",
            "records_loaded_total",
            "records_superseded_total",
            "records_rejected_total",
            "records_waiting",
            "entries_waiting",
            "entries_damaged_total",
            "oldest_waiting_seconds",
            "table_failing",
            "table_stopped",
        )
    } == {
        "records_accepted_total": 10,
        "records_loaded_total": 5,
        "records_superseded_total": 2,
        "records_rejected_total": 1,
        "records_waiting": 2,
        "entries_waiting": 1,
        "entries_damaged_total": 1,
        "oldest_waiting_seconds": 6,
        "table_failing": 1,
        "table_stopped": 0,
    }
    assert value("loads_total", *table, ("result", "committed")) == 3
    assert value("loads_total", *table, ("result", "failed")) == 4
    labels = (("destination_id", "1"), ("type", "postgres"), ("name", "here"))
    assert value("destination_up", *labels) == 0
    assert (value("log_bytes"), value("log_free_bytes")) == (7, 8)
    assert value("log_append_failures_total") == 6
    assert value("http_requests_total", ("endpoint", "push"), ("status", "201")) == 5
    assert value("build_info", ("version", "1")) == 1


def test_tables_beyond_the_bound_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TABLES_MAX", 1)
    tables = [
        TableSnapshot(
            "web", 2, name, accepted=3, waiting=1, oldest=at, loads=1, stopped=name == "c"
        )
        for name, at in (("a", 1_000_000), ("b", 3_000_000), ("c", 2_000_000))
    ]
    found = samples(MetricsSnapshot(now=5_000_000, version="1", tables=tables))
    others = {("source", OTHER_TABLES), ("source_id", "0"), ("table", OTHER_TABLES)}

    def value(name: str, *labels: tuple[str, str]) -> float:
        return found[f"treadle_{name}", frozenset({*others, *labels})]

    assert value("records_accepted_total") == 6
    assert value("oldest_waiting_seconds") == 3
    assert value("table_stopped") == 1
    assert value("loads_total", ("result", "committed")) == 2
    assert len([name for name, _ in found if name == "treadle_records_waiting"]) == 2


def test_the_tables_of_one_source_beyond_its_bound_are_summed_and_leave_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SOURCE_TABLES_MAX", 2)
    monkeypatch.setattr(module, "TABLES_MAX", 4)
    tables = [TableSnapshot("greedy", 1, f"t{n}", accepted=1, account_id=1) for n in range(1000)]
    tables.append(TableSnapshot("modest", 2, "orders", accepted=7, account_id=2))
    found = samples(MetricsSnapshot(now=1, version="1", tables=tables))

    def value(source: str, source_id: int, table: str) -> float:
        labels = {("source", source), ("source_id", str(source_id)), ("table", table)}
        return found["treadle_records_accepted_total", frozenset(labels)]

    assert value("greedy", 1, "t0") == 1
    assert value("greedy", 1, OTHER_TABLES) == 998
    assert value("modest", 2, "orders") == 7
    assert len([name for name, _ in found if name == "treadle_records_accepted_total"]) == 4


@pytest.mark.parametrize("bound", ["TABLES_MAX", "SOURCE_TABLES_MAX"])
@pytest.mark.parametrize("source_id", [1, 2])
def test_a_later_table_pushes_no_other_into_the_sums(
    monkeypatch: pytest.MonkeyPatch, bound: str, source_id: int
) -> None:
    monkeypatch.setattr(module, bound, 2)
    tables = [TableSnapshot("web", 2, name, rejected=50) for name in ("b", "c", "d")]
    before = samples(MetricsSnapshot(now=1, version="1", tables=tables))
    tables.append(TableSnapshot("web" if source_id == 2 else "app", source_id, "a"))
    after = samples(MetricsSnapshot(now=1, version="1", tables=tables))
    assert {key: after[key] for key in before} == before


def test_a_table_with_the_name_of_the_sums_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOURCE_TABLES_MAX", 1)
    names = [OTHER_TABLES, "a", "b"]
    tables = [TableSnapshot("web", 2, name, accepted=at) for at, name in enumerate(names, 1)]
    text = render_metrics(MetricsSnapshot(now=1, version="1", tables=tables)).decode()
    counts = [line for line in text.splitlines() if line.startswith("treadle_records_accepted_to")]
    assert counts == [
        'treadle_records_accepted_total{source="web",source_id="2",table="a"} 2.0',
        'treadle_records_accepted_total{source="web",source_id="2",table="(others)"} 4.0',
    ]


def test_the_quotas_of_a_source_and_how_often_it_was_refused() -> None:
    one = QuotaSnapshot(
        "web", 2, {"tables": 5}, {"requests": 9}, {"tables": 3}, 4, 100, above_part=True
    )
    found = samples(MetricsSnapshot(now=1, version="1", quotas=[one]))

    def value(name: str, **labels: str) -> float:
        whose = {"source": "web", "source_id": "2"} | labels
        return found[f"treadle_{name}", frozenset(whose.items())]

    assert value("quota_limit", quota="tables") == 5
    assert value("quota_used_total", quota="requests") == 9
    assert value("quota_refusals_total", quota="tables") == 3
    assert value("source_tables") == 4
    assert value("source_waiting_bytes") == 100
    assert value("source_above_part") == 1


def test_an_account_sees_its_own_quotas_alone() -> None:
    quotas = [
        QuotaSnapshot("web", n, {"tables": 5}, {}, {}, 0, 0, above_part=False, account_id=n)
        for n in (1, 2)
    ]
    seen = select_account(MetricsSnapshot(now=1, version="1", quotas=quotas), 2)
    assert [one.source_id for one in seen.quotas] == [2]


def test_the_deliveries_of_a_hook_are_told_to_its_account() -> None:
    hooks = [
        HookSnapshot(7, 3, 2, 4_000_000, 10, 1, 15, account_id=1),
        HookSnapshot(8, 3, 0, None, 0, 0, 0, account_id=2),
    ]
    seen = MetricsSnapshot(now=10_000_000, version="1", hooks=hooks)
    found = samples(seen)

    def value(name: str, **labels: str) -> float:
        whose = {"hook_id": "7", "destination_id": "3"} | labels
        return found[f"treadle_hook_{name}", frozenset(whose.items())]

    assert value("deliveries_waiting") == 2
    assert value("oldest_waiting_seconds") == 6
    assert value("deliveries_total", result="delivered") == 10
    assert value("deliveries_total", result="failed") == 1
    assert value("tries_total") == 15
    assert [one.id for one in select_account(seen, 2).hooks] == [8]


def test_durations_and_processes_are_told_to_the_operator_alone() -> None:
    durations = {"request push 0": 2, "request push 3": 1, "request push sum": 9_000}
    seen = MetricsSnapshot(
        now=1,
        version="1",
        durations=durations,
        processes=[ProcessSnapshot("worker 1", 1_000, 2.5, 17, 3.0), ProcessSnapshot("desk", 5, 1)],
    )
    found = samples(seen)

    def value(name: str, **labels: str) -> float:
        return found[f"treadle_{name}", frozenset(labels.items())]

    assert value("http_request_duration_seconds_count", endpoint="push") == 3
    assert value("http_request_duration_seconds_bucket", endpoint="push", le="0.001") == 2
    assert value("http_request_duration_seconds_bucket", endpoint="push", le="0.01") == 3
    assert value("http_request_duration_seconds_sum", endpoint="push") == 0.009
    assert value("process_resident_memory_bytes", process="worker 1") == 1_000
    assert value("process_open_fds", process="worker 1") == 17
    assert value("process_cpu_seconds_total", process="worker 1") == 2.5
    assert value("process_start_time_seconds", process="worker 1") == 3
    assert ("treadle_process_open_fds", frozenset({("process", "desk")})) not in found
    assert not any("process" in name for name, _ in samples(select_account(seen, 1)))


def test_every_metric_is_in_the_reference() -> None:
    page = set(re.findall(r"^\| `(treadle_\w+)` \|", PAGE.read_text(), re.MULTILINE))
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in build_families(
            MetricsSnapshot(
                now=1,
                version="1",
                token_age=0.5,
                member=MemberLabels("a", "ingest"),
                share=UnitCounts(2, 64, 1),
            )
        )
    }
    assert page == told


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/import/push", "push"),
        ("/v2/import/push/", "push"),
        ("/v2/import/status", "status"),
        ("/v1/clients/1/token/at_secret", "webhook"),
        ("/v1/tables/orders/records", "records"),
        ("/v1/tables/orders/schema", "control"),
        ("/v1/receipts/abc", "receipts"),
        ("/v1/ledger", "control"),
        ("/v4/sources", "control"),
        ("//v4//sources", "control"),
        ("/v3/accounts", "control"),
        ("//notifications/public/v1/api//hooks", "control"),
        ("/console/login", "console"),
        ("/notifications/public/v1/api/hooks", "control"),
        ("/metrics", "metrics"),
        ("/healthz", "health"),
        ("/readyz", "health"),
        ("//metrics", "other"),
        ("//v2/import/push", "other"),
        ("/at_secret", "other"),
    ],
)
def test_paths_are_counted_under_few_names(path: str, name: str) -> None:
    assert name_endpoint(path) == name
    assert name_counter(path, 201) in COUNTER_NAMES
    assert name_counter(path, 799) == f"{name} other"


def test_every_status_in_the_program_is_counted_by_itself() -> None:
    source = Path(module.__file__).parents[1]
    pattern = (
        r"(?:RequestRefusedError|status_code=|JsonResponse\([^()\n]*, |Response\([^()\n]*, )"
        r"\(?\s*([1-5]\d\d)\b"
    )
    found = {
        status for path in source.rglob("*.py") for status in re.findall(pattern, path.read_text())
    }
    assert len(found) > 10
    assert found <= set(STATUSES)


def test_a_member_says_which_one_it_is_and_leaves_the_log_to_others() -> None:
    used = QuotaSnapshot("web", 2, {}, {"requests": 5}, {"requests": 1}, None, None, False)
    seen = MetricsSnapshot(
        now=1,
        version="1",
        quotas=[used],
        log_used=None,
        log_free=None,
        member=MemberLabels("gate-1", "ingest"),
    )
    found = samples(seen)
    member = frozenset({("member", "gate-1"), ("roles", "ingest")})
    assert found["treadle_member_info", member] == 1
    source = frozenset({("source", "web"), ("source_id", "2"), ("quota", "requests")})
    assert found["treadle_quota_used_total", source] == 5
    names = {name for name, _ in found}
    assert not names & {
        "treadle_log_bytes",
        "treadle_log_free_bytes",
        "treadle_source_tables",
        "treadle_source_waiting_bytes",
        "treadle_source_above_part",
        "treadle_quota_limit",
    }
