"""Examples of the answers about the server itself, for the OpenAPI document."""

from typing import Any, Final

from treadle.control import errors
from treadle.control.event_readings import TOPICS
from treadle.control.examination_operations import GOES_ON
from treadle.control.examination_routes import render_examination
from treadle.control.problem_operations import render_problem
from treadle.control.refusal_operations import render_groups, render_refused_request
from treadle.control.request_operations import NO_LONGER_KEPT, STATES
from treadle.control.traces import ONE_OF_SEVERAL
from treadle.questions import refusals
from treadle.traces.examination import ExaminationNote, ExaminedFinding
from treadle.traces.refusals import KeptRefusal, RefusalCount, RefusalGroup
from treadle.tracking.problem_kinds import FoundProblem

_AT: Final = 1_767_268_800_000_000
_AT_TEXT: Final = "2026-01-01T12:00:00.000000Z"
_GROUP: Final = RefusalGroup("push", 401, "Not Authorized", 1, 7, 12)
_REFUSAL: Final = KeptRefusal(
    _AT, _GROUP, "9f86d081", "192.0.2.7", 512, '{"message":"Not Authorized"}', "1-1042"
)
_COUNT: Final = RefusalCount(_GROUP, _AT, _AT, 3, (*(0,) * 59, 3), _REFUSAL)
_FORBIDDEN: Final[dict[int, dict[str, object]]] = {
    403: {"several accounts": {"message": ONE_OF_SEVERAL}}
}
_SEVERAL: Final[dict[int, dict[str, object]]] = {
    403: {"several accounts": errors.not_whole_installation().body}
}


def list_trace_examples() -> dict[str, dict[int, dict[str, object]]]:
    """Return name of a call -> status -> examples."""
    rate: dict[str, Any] = {"accepted": 120.0, "loaded": 118.0, "superseded": 0.0, "rejected": 0.0}
    status = {
        "at": _AT_TEXT,
        "version": "0.1.0",
        "totals": {
            "accepted": 1_000_000,
            "loaded": 999_000,
            "superseded": 900,
            "rejected": 3,
            "waiting": 97,
        },
        "rates": [{"seconds": 10, **rate}, {"seconds": 60, **rate}],
        "oldest_waiting_at": _AT_TEXT,
        "oldest_waiting_seconds": 0.8,
        "freshness": {"p50_seconds": 0.9, "p99_seconds": 2.1},
        "tables": {"known": 12, "failing": 0, "stopped": 0},
        "sampled_at": "2026-01-01T12:00:00Z",
        "destinations": [
            {
                "id": 1,
                "type": "duckdb",
                "name": "duckdb",
                "state": "up",
                "since": None,
                "said": None,
            }
        ],
        "problems": 0,
        "server": {
            "log_bytes": 52_428_800.0,
            "disk_free_bytes": 1e11,
            "requests_per_second": {"2xx": 12.5, "3xx": 0.0, "4xx": 0.1, "5xx": 0.0},
        },
    }
    health = {
        "at": _AT_TEXT,
        "log": {
            "bytes": 52_428_800,
            "disk_free_bytes": 100_000_000_000,
            "log_bytes_max": None,
            "disk_reserve_bytes": 1_000_000_000,
            "shortage": None,
            "full_in_seconds": 864_000,
            "append_failures": 0,
            "fsync": {"commits": 512, "p50_seconds": 0.0021, "p99_seconds": 0.0098},
            "oldest_kept_at": _AT_TEXT,
            "waiting": [
                {"source_id": 7, "name": "shop", "waiting_bytes": 2048, "waiting_records": 97}
            ],
        },
        "processes": [
            {
                "name": "worker 1",
                "pid": 4711,
                "since": _AT_TEXT,
                "restarts": 0,
                "is_running": True,
                "memory_bytes": 120_000_000,
            }
        ],
        "members": [
            {
                "member": "gate-1",
                "process": "worker 1",
                "role": "ingest",
                "host": "gate-1.example.com",
                "version": "0.1.0",
                "units": None,
                "since": _AT_TEXT,
                "beat_seconds": 0.4,
                "is_live": True,
                "state": "ready",
                "address": "https://gate-1.example.com:8484",
                "answers": {"2xx": 1_000_000, "3xx": 0, "4xx": 12, "5xx": 0},
                "unit_groups": [],
            },
            {
                "member": "loader-1",
                "process": "loader",
                "role": "loader",
                "host": "loader-1.example.com",
                "version": "0.1.0",
                "units": 64,
                "since": _AT_TEXT,
                "beat_seconds": 0.2,
                "is_live": True,
                "state": "ready",
                "address": None,
                "answers": None,
                "unit_groups": [
                    {
                        "log": 1,
                        "destination_id": None,
                        "units": 64,
                        "of": 64,
                        "since": _AT_TEXT,
                        "last_taken_at": _AT_TEXT,
                    }
                ],
            },
        ],
        "machine": "control-1",
        "units_free": [],
        "logs": [
            {
                "number": 1,
                "kind": "postgres",
                "state": "open",
                "place": "postgresql://db-a,db-b/treadle",
                "sources": 3,
                "tables_waiting": 1,
                "entries_waiting": 2,
                "records_waiting": 97,
                "bytes_waiting": 2048,
                "oldest_waiting_at": _AT_TEXT,
                "bytes": 52_428_800,
                "trouble": None,
                "durability": "replicated",
                "commits_wait_for": "ANY 1 (db_b, db_c)",
                "standbys_connected": 2,
            }
        ],
    }
    series = {
        "source_id": None,
        "step_seconds": 10,
        "from_at": "2026-01-01T12:00:00Z",
        "until_at": "2026-01-01T12:00:20Z",
        "series": {"accepted": [1200.0, None]},
    }
    setting = {
        "name": "workers",
        "value": 1,
        "origin": "default",
        "help": "processes that take requests",
    }
    unknown = errors.source_not_found("7", status=404)
    problem = render_problem(
        FoundProblem(1, "table_stopped", "table 7 a", "orders of shop", _AT, "a key", 7, "orders"),
        None,
    )
    ended = {
        "kind": "data_delayed",
        "named": "shop",
        "began_at": _AT_TEXT,
        "ended_at": _AT_TEXT,
    }
    accepted = {
        "at": _AT_TEXT,
        "status": 201,
        "state": "loaded",
        "receipt": "rc_kwfNBBIBq6ur",
        "source_id": 7,
        "tables": ["orders"],
        "entries": 1,
        "records": 12,
        "rejected": 0,
        "bytes": 2048,
        "refusal": None,
    }
    refused = {
        **accepted,
        "status": 401,
        "state": "refused",
        "receipt": None,
        "tables": [],
        "entries": 0,
        "records": 0,
        "bytes": 512,
        "refusal": render_refused_request(_REFUSAL),
    }
    begun = ExaminationNote("doctor", False, _AT, _AT, step="beginning")
    finding = ExaminedFinding("clock", "good", "The clock is not behind what was noted before.")
    ended_note = ExaminationNote(
        "doctor", True, _AT, _AT, _AT, "", 15, 15, 20_000, findings=(finding,)
    )
    going_on, examination = (render_examination(one, _AT) for one in (begun, ended_note))
    record = {"table": "orders", "sequence": 5, "bytes": 8, "record": {"id": 1}}
    return {
        "get_events": {
            200: {},
            400: {"topics": {"message": "topics is one or more of " + ",".join(TOPICS)}},
        },
        "get_requests": {
            200: {"two": {"requests": [accepted, refused], "next": None}},
            400: {"state": {"message": "state is one of " + ", ".join(STATES)}},
        },
        "get_request_records": {
            200: {
                "one": {
                    "receipt": "rc_kwfNBBIBq6ur",
                    "records": [record],
                    "total": 1,
                    "entries_not_shown": 0,
                }
            },
            404: {"unknown": {"status": "NOT FOUND"}},
            410: {"trimmed": {"message": NO_LONGER_KEPT}},
        },
        "get_problems": {
            200: {"one": {"problems": [problem], "ended": [ended], "looked_at": _AT_TEXT}}
        },
        "snooze": {
            200: {"for a day": {**problem, "snoozed_until": "2026-01-02T12:00:00.000000Z"}},
            400: {"seconds": {"message": "seconds is a number from 0 to 2592000"}},
            404: {"over": errors.problem_not_found("2a97516c354b6884").body},
        },
        "get_status": {200: {"all is well": status}},
        "get_series": {
            200: {"two steps": series},
            400: {"step": {"message": "step is 10, 60 or 3600"}},
            404: {"unknown source": unknown.body},
        },
        "get_refusals": {
            200: {
                "a revoked token": {
                    "refusals": [render_refused_request(_REFUSAL)],
                    "groups": render_groups([_COUNT]),
                    "next": None,
                }
            },
            400: {"status": {"message": "status is a number from 400 to 599"}},
        },
        "get_health": {200: {"all is well": health}, **_FORBIDDEN},
        "get_examinations": {200: {"done": {"examinations": [examination]}}, **_SEVERAL},
        "begin_examination": {
            200: {"begun": {"examinations": [going_on]}},
            400: {"kind": {"message": "the body is an object with the key kind"}},
            409: {"goes on": {"message": GOES_ON}},
            503: {"no desk": refusals.desk_missing().body},
            **_SEVERAL,
        },
        "get_settings": {200: {"one": {"settings": [setting]}}, **_FORBIDDEN},
    }
