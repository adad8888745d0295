"""Examples for the document, made by the functions that make the answers themselves."""

from treadle.control import pages, refusals, shapes
from treadle.control.settings import Settings
from treadle.errors import Refused
from treadle.store.model import Load, Source, TableStatus, Token
from treadle.store.reports import report

Examples = dict[str, object]

_CREATED = 1_549_385_095_000_000
_LATER = 1_549_462_973_000_000
_ACCOUNT, _SOURCE = 116_078, 126_890
_PATH = f"/v4/{_ACCOUNT}"


def _source(**changes: object) -> Source:
    row: dict[str, object] = {
        "id": _SOURCE,
        "account_id": _ACCOUNT,
        "type": shapes.IMPORT_API,
        "display_name": "Import API",
        "name": "import_api",
        "destination_id": None,
        "created_at": _CREATED,
        "updated_at": _CREATED,
        "paused_at": None,
        "system_paused_at": None,
        "deleted_at": None,
        "settings": {},
    }
    return Source(**(row | changes))  # type: ignore[arg-type]  # the keys are the fields


def _token(id_: int, created_at: int) -> Token:
    return Token(
        id=id_,
        source_id=_SOURCE,
        secret=f"at_<TOKEN_{id_}>",
        bootstrap=False,
        created_at=created_at,
        first_used_at=None,
        last_used_at=None,
        uses=0,
        revoked_at=None,
    )


_OLD, _NEW = _token(544_973_525, _CREATED), _token(545_799_083, _LATER)


_LOAD = Load(
    id="5f2b1c0e-6a38-4c53-9d0c-6d8f6f0f6a51",
    source_id=_SOURCE,
    table_name="orders",
    first=7,
    last=9,
    started_at=_LATER,
    finished_at=_LATER + 41_000,
    rows_received=120,
    rows_loaded=100,
    rows_discarded=9,
    rows_rejected=11,
    tables={"orders": 100},
    details={
        "relations": [["orders", "orders"]],
        "fields_left_out": ["too_long_column"],
        "columns_added": [["orders", "age__do"]],
        "columns_renamed": [["orders", "age", "age__bi"]],
        "nul_characters_removed": 2,
    },
    error=None,
)


def requests() -> dict[str, Examples]:
    """Operation -> example bodies."""
    selection = {
        "tap_stream_id": "customers",
        "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}],
    }
    return {
        "create_source": {
            "named by its label": {"type": "import_api", "display_name": "Import API"},
            "with a name": {"type": "import_api", "display_name": "Sales (EU)", "name": "sales"},
        },
        "update_source": {
            "rename": {"display_name": "Orders"},
            "pause": {"paused_at": "2019-06-01T00:00:00Z"},
            "unpause": {"paused_at": None},
        },
        "select_streams": {"a stream": {"streams": [selection]}},
    }


def _errors(*refused: Refused) -> dict[int, Examples]:
    """Status -> examples, named by their codes or texts."""
    by_status: dict[int, Examples] = {}
    for one in refused:
        examples = by_status.setdefault(one.status, {})
        code = one.body.get("error") if isinstance(one.body, dict) else None
        name = code if isinstance(code, str) else "error"
        examples[f"{name} {len(examples) + 1}"] = one.body
    return by_status


EVERYWHERE = _errors(
    refusals.unauthorized(), refusals.no_route(), refusals.trouble(), refusals.busy()
)
WITH_BODY = _errors(
    refusals.unreadable(408, "The request body arrived too slowly. Send it again."),
    refusals.unreadable(413, "Request rejected: request size (2000000 bytes) exceeds the maximum"),
    refusals.unreadable(
        415, "Unsupported content-encoding br. Please send gzip, zstd or no encoding"
    ),
)


_SUMS = {"accepted": 120, "loaded": 100, "superseded": 15, "rejected": 1, "waiting": 4}
_HOUR = {
    "source_id": _SOURCE,
    "table": "orders",
    "hour": "2026-01-01T12:00:00Z",
    **_SUMS,
}


def answers(settings: Settings) -> dict[str, dict[int, Examples]]:
    """Operation -> status -> examples by name, all but those of `EVERYWHERE` and `WITH_BODY`."""
    source, card = str(_SOURCE), shapes.report_card(settings, configured=False)
    fresh = shapes.source(settings, _source(), [_OLD])
    paused = shapes.source(settings, _source(updated_at=_LATER, paused_at=_LATER), [_OLD])
    gone = shapes.source(settings, _source(updated_at=_LATER, deleted_at=_LATER), [_OLD])
    rotated = shapes.source(settings, _source(updated_at=_LATER), [_NEW])
    made = shapes.new_token(settings, _NEW, _source(updated_at=_LATER), [_OLD, _NEW])
    status = TableStatus(_SOURCE, "customers", 7, _LATER, None, None, stopped=False)
    stuck = TableStatus(_SOURCE, "orders", 7, _LATER, "connection refused", _LATER, stopped=False)
    loads = pages.page(
        [status, stuck],
        None,
        f"{_PATH}/loads",
        lambda row: shapes.load(_ACCOUNT, "import_api", row),
    )
    none: tuple[object, ...] = ()
    extractions = pages.page(none, None, f"{_PATH}/extractions", lambda row: row)
    done = {"status": 200}
    type_card = shapes.source_type(settings)
    no_tokens = (
        refusals.no_source(source),
        refusals.no_import_api(_SOURCE),
    )
    return {
        "list_source_types": {200: {"types": [type_card]}},
        "get_source_type": {
            200: {"import_api": type_card},
            **_errors(refusals.no_source_type("platform.hubspot", status=404)),
        },
        "list_sources": {200: {"one source": [fresh], "none": []}},
        "create_source": {
            200: {"created": fresh},
            **_errors(
                refusals.post_body(),
                refusals.no_source_type("platform.hubspot"),
                refusals.bad_name(),
                refusals.name_taken("import_api"),
                refusals.derived_name_taken("Import API", "import_api"),
                refusals.no_name_derived("####", ""),
                refusals.bad_display_name("\0"),
                refusals.no_destination(155_582),
                refusals.bad_properties(["token"], card),
            ),
        },
        "get_source": {
            200: {"active": fresh, "paused": paused, "deleted": gone},
            **_errors(refusals.no_source(source, status=404)),
        },
        "update_source": {
            200: {"paused": paused},
            **_errors(
                refusals.no_source(source),
                refusals.put_body(),
                refusals.bad_display_name(""),
                refusals.no_destination(155_582),
                refusals.name_taken("import_api"),
                refusals.bad_properties(["token"], shapes.report_card(settings, configured=True)),
            ),
        },
        "delete_source": {200: {"deleted": gone}, **_errors(refusals.no_source(source))},
        "list_tokens": {
            200: {"newest first": shapes.token_list(settings, [_OLD, _NEW])},
            **_errors(
                refusals.no_source(source, status=404),
                refusals.no_import_api(_SOURCE),
            ),
        },
        "create_token": {
            200: {"made": made},
            **_errors(*no_tokens, refusals.two_tokens(_SOURCE, 2)),
        },
        "revoke_token": {
            200: {"the other one is left": rotated},
            **_errors(*no_tokens, refusals.no_token(str(_OLD.id))),
        },
        "list_loads": {200: {"loaded, and stuck": loads}},
        "list_load_reports": {
            200: {"a load": {"loads": [report(_LOAD)], "next": None}},
            400: {"limit": {"message": "limit is a number from 1 to 1000"}},
        },
        "show_ledger": {
            200: {"one hour": {"total": _SUMS, "hours": [_HOUR]}},
            400: {"source": {"message": "source is the id of a source"}},
        },
        "list_extractions": {200: {"none": extractions}},
        "get_extraction_log": _errors(refusals.no_route()),
        "get_last_check": _errors(
            refusals.no_source(source, status=404), refusals.no_check(_SOURCE)
        ),
        "list_streams": {200: {"none": []}, **_errors(refusals.no_stream(source))},
        "get_stream": _errors(refusals.no_stream("2288757")),
        "select_streams": {
            200: {"nothing selected": done},
            **_errors(
                refusals.no_tap_streams(["customers"]),
                refusals.streams_body(),
                refusals.no_stream(source),
            ),
        },
        "start_job": _errors(
            refusals.no_job(_SOURCE, _ACCOUNT),
            refusals.no_job_source(source, _ACCOUNT),
            refusals.job_source_deleted(),
        ),
        "stop_job": {
            200: {"nothing ran": done},
            **_errors(refusals.no_job_source(source, _ACCOUNT)),
        },
    }
