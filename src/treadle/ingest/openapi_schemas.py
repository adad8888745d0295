"""JSON Schemas of what the Import API takes and answers, for the OpenAPI document."""

from typing import Any, Final

import msgspec

from treadle.ingest import endpoint, raw_records
from treadle.ingest.acceptance import ACCEPTED_BODY
from treadle.ingest.push_endpoint import VALID_BODY
from treadle.records import push
from treadle.records.field_check import SWITCH_VIEW, UPSERT
from treadle.records.limits import RECORDS_MAX, SEQUENCE_MAX, SEQUENCE_MIN

Json = dict[str, Any]


def ref(name: str) -> Json:
    """The schema of a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(described: str, required: Json, optional: Json | None = None) -> Json:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "description": described,
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def _constant(described: str, value: Json) -> Json:
    """An object that is always the same."""
    keys = {name: _fixed(part) for name, part in value.items()}
    return _object(described, keys)


def _fixed(value: Any) -> Json:
    return _constant("always the same", value) if isinstance(value, dict) else {"const": value}


_OK: Final[Json] = msgspec.json.decode(ACCEPTED_BODY)
_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_VERSION: Final[Json] = {
    "type": ["integer", "null"],
    "minimum": 0,
    "maximum": SEQUENCE_MAX,
    "description": "version of the table; null and 0 mean none",
}
_SEQUENCE: Final[Json] = {
    "type": "integer",
    "minimum": SEQUENCE_MIN,
    "maximum": SEQUENCE_MAX,
    "description": "orders the versions of one record: the highest wins",
}
_CLIENT: Final[Json] = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}],
    "description": "the account the token belongs to; the same in all records",
}
_TABLE: Final[Json] = {
    "type": "string",
    "pattern": r"\S",
    "description": "destination table; made with its first record",
}
_KEYS: Final[Json] = {"type": "array", "items": _TEXT}
_DATA: Final[Json] = {
    "type": "object",
    "description": "the record: at most 10,000 values, nested ones counted",
}
_NAMESPACE: Final[Json] = {"type": ["string", "null"], "description": "ignored"}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_REJECT: Final[Json] = {
    "record": {**_COUNT, "description": "its place among the table's records, from 0"},
    "reason": _TEXT,
}
_REJECTED: Final[Json] = {
    "type": "array",
    "items": _object("a record that fits nowhere; it comes into `_sdc_rejected`", _REJECT),
}
_RESENT: Final[Json] = {
    "type": "array",
    "items": _object(
        "a record that fits nowhere; it is in `_sdc_rejected`",
        _REJECT,
        {"resent": {**_TEXT, "description": "it was sent again: the receipt of that"}},
    ),
}
_STATE: Final[Json] = {"enum": ["waiting", "loaded", "stopped"]}

BODIES: Final[Json] = {
    "Upsert": _object(
        "A record that replaces the earlier one with its key.",
        {
            "client_id": _CLIENT,
            "table_name": _TABLE,
            "sequence": _SEQUENCE,
            "action": {"const": UPSERT},
            "key_names": {
                **_KEYS,
                "description": "the table's key: fields of `data` that are there and not null, "
                "texts of at most 1,024 characters; none: every record is a new row",
            },
            "data": _DATA,
        },
        {"table_version": _VERSION, "namespace": _NAMESPACE},
    ),
    "SwitchView": _object(
        "A version of a table is complete: rows of older versions go.",
        {
            "client_id": _CLIENT,
            "table_name": _TABLE,
            "sequence": _SEQUENCE,
            "action": {"const": SWITCH_VIEW},
            "table_version": {**_VERSION, "type": "integer"},
        },
        {"key_names": {}, "data": {}, "namespace": _NAMESPACE},
    ),
    "Push": {
        "type": "array",
        "minItems": 1,
        "maxItems": RECORDS_MAX,
        "items": {"oneOf": [ref("Upsert"), ref("SwitchView")]},
    },
    "BatchUpsert": _object(
        "A record that replaces the earlier one with its key.",
        {"action": {"const": UPSERT}, "sequence": _SEQUENCE, "data": _DATA},
        {
            "time_extracted": {**_TEXT, "description": "RFC 3339; kept in `_sdc_extracted_at`"},
            "vintage": {**_TEXT, "description": "the older name of `time_extracted`"},
        },
    ),
    "ActivateVersion": _object(
        "The envelope's table version is complete: rows of older versions go.",
        {"action": {"const": "activate_version"}, "sequence": _SEQUENCE},
    ),
    "Batch": _object(
        "Records of one table with their schema.",
        {
            "table_name": _TABLE,
            "schema": {
                "type": "object",
                "description": "JSON Schema, draft 4, which all `data` must fit",
            },
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": RECORDS_MAX,
                "items": {"oneOf": [ref("BatchUpsert"), ref("ActivateVersion")]},
            },
        },
        {
            "key_names": {
                "type": ["array", "null"],
                "items": _TEXT,
                "description": "the table's key; none: every record is a new row",
            },
            "table_version": {"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX},
            "bookmark_names": {**_KEYS, "description": "fields named in load reports"},
        },
    ),
    "BareRecords": {
        "anyOf": [
            {"type": "object"},
            {"type": "array", "maxItems": RECORDS_MAX, "items": {"type": "object"}},
        ],
        "description": "a record, or an array of records",
    },
}
"""What requests carry, by name."""

ANSWERS: Final[Json] = {
    "Accepted": _constant("Every record is durable.", _OK),
    "Valid": _constant("A push of this would be accepted.", VALID_BODY),
    "Status": _object(
        "Whether data is accepted now.",
        {
            "name": {"const": "pipeline.gate"},
            "version": _TEXT,
            "revision": _TEXT,
            "status": {"enum": ["OK", "ERROR"]},
            "reason": {
                "type": ["string", "null"],
                "description": "what is wrong, also where data is accepted and waits",
            },
        },
    ),
    "Trouble": _object("What was wrong.", {"status": {"const": "ERROR"}, "message": _TEXT}),
    "Malformed": _object(
        "The body cannot be parsed.",
        {
            "status": {"const": "ERROR"},
            "message": {**_TEXT, "pattern": "^Malformed "},
            "error": {**_TEXT, "description": "what the parser found"},
            "input": {"type": "null"},
        },
    ),
    "NotAuthenticated": _constant("No valid token.", push.NOT_AUTHENTICATED),
    "NotAuthorized": _constant("No valid token.", endpoint.NOT_AUTHORIZED),
    "NotActive": _constant("The source is paused or deleted.", endpoint.NOT_ACTIVE),
    "Forbidden": _constant("`client_id` is not the token's account.", push.FOREIGN_CLIENT),
    "NotFound": _constant("Nothing is there.", endpoint.NOT_FOUND),
    "Said": _object("What was wrong.", {"message": _TEXT}),
    "BadRecords": _object(
        "What is wrong with which field, an element for each bad record, in order.",
        {
            "status": {"const": "ERROR"},
            "error": {"const": "Request cannot be processed; see errors."},
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": _object(
                    "one record",
                    {
                        "reason": {
                            "anyOf": [
                                _TEXT,
                                {
                                    "type": "object",
                                    "additionalProperties": {
                                        "type": "array",
                                        "items": _TEXT,
                                        "minItems": 1,
                                    },
                                },
                            ]
                        }
                    },
                ),
            },
        },
    ),
    "BatchRefusal": _object("What was wrong, one line for each finding.", {"error": _TEXT}),
    "Receipt": _object(
        "What became of an accepted request.",
        {
            "id": {**_TEXT, "description": "the receipt"},
            "status": {
                **_STATE,
                "description": "`stopped`: all that is not loaded waits for somebody to act",
            },
            "records": {**_COUNT, "description": "accepted"},
            "tables": {"type": "array", "items": ref("ReceiptTable")},
            "tables_not_shown": {**_COUNT, "description": "only 1,000 are shown"},
        },
    ),
    "ReceiptTable": _object(
        "What became of the records of one table.",
        {
            "table_name": {**_TEXT, "description": "as pushed"},
            "status": _STATE,
            "records": {**_COUNT, "description": "accepted"},
            "accepted_at": _INSTANT,
            "loaded": {**_COUNT, "description": "records that came into the table"},
            "superseded": {
                **_COUNT,
                "description": "records that gave way to another of their key or version",
            },
            "rejected": _RESENT,
            "load": {
                "anyOf": [
                    _object("the load that took them", {"id": _TEXT, "finished_at": _INSTANT}),
                    {"type": "null"},
                ]
            },
            "error": {"type": ["string", "null"], "description": "why loading fails now"},
        },
    ),
    "DryRun": _object(
        "What a load of the request would do.",
        {"dry_run": {"const": True}, "tables": {"type": "array", "items": ref("DryRunTable")}},
    ),
    "DryRunTable": _object(
        "What a load would do to one table; a table that cannot be loaded has its `error` alone.",
        {
            "table": {**_TEXT, "description": "as pushed"},
            "rows_received": _COUNT,
            "error": {"type": ["string", "null"], "description": "why it cannot be loaded"},
        },
        {
            "destination_table": _TEXT,
            "rows_loaded": _COUNT,
            "rows_discarded": _COUNT,
            "rows_rejected": _COUNT,
            "rejected": _REJECTED,
            "fields_left_out": {"type": "array"},
            "columns_added": {"type": "array", "items": _TEXT},
            "columns_renamed": {
                "type": "array",
                "items": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
            },
            "tables_created": {"type": "array", "items": _TEXT},
            "statements": {"type": "array", "items": _TEXT, "description": "the exact SQL"},
            "nul_characters_removed": _COUNT,
            "table_version": _COUNT,
            "new_version": {"type": "boolean"},
        },
    ),
}
"""What is answered, by name."""

EXAMPLES: Final[dict[str, Any]] = {
    "Accepted": _OK,
    "Valid": VALID_BODY,
    "Status": {
        "name": "pipeline.gate",
        "version": "0.1.0",
        "revision": "release",
        "status": "OK",
        "reason": None,
    },
    "Trouble": raw_records.TOO_MANY_RECORDS,
    "Malformed": {
        "status": "ERROR",
        "message": "Malformed json in the body!",
        "error": "Input data was truncated",
        "input": None,
    },
    "NotAuthenticated": push.NOT_AUTHENTICATED,
    "NotAuthorized": endpoint.NOT_AUTHORIZED,
    "NotActive": endpoint.NOT_ACTIVE,
    "Forbidden": push.FOREIGN_CLIENT,
    "NotFound": endpoint.NOT_FOUND,
    "BadRecords": {
        "status": "ERROR",
        "error": "Request cannot be processed; see errors.",
        "errors": [{"reason": {"data": ["data must include keys"]}}],
    },
    "BatchRefusal": {
        "error": "Record 0 did not conform to schema:\n"
        "#/name: expected type: String, found: Integer\n"
    },
    "DryRun": {
        "dry_run": True,
        "tables": [{"table": "orders", "rows_received": 1, "error": "the keys do not match"}],
    },
    "Receipt": {
        "id": "rc_kwEHAg8rJmA1kQ",
        "status": "loaded",
        "records": 3,
        "tables": [
            {
                "table_name": "customers",
                "status": "loaded",
                "records": 3,
                "accepted_at": "2026-02-01T08:00:00.000000Z",
                "loaded": 1,
                "superseded": 1,
                "rejected": [{"record": 2, "reason": "number out of range"}],
                "load": {
                    "id": "3f0b8f2e-9d2a-4f0e-8e3c-5d5e8c1f1a77",
                    "finished_at": "2026-02-01T08:00:01.250000Z",
                },
                "error": None,
            }
        ],
        "tables_not_shown": 0,
    },
}
"""An answer of each kind."""

_RECORD: Final[Json] = {
    "client_id": 4321,
    "table_name": "customers",
    "sequence": 1565880017,
    "action": UPSERT,
    "key_names": ["id"],
    "data": {"id": 1, "name": "Finn"},
}
PUSHES: Final[Json] = {
    "a record": [_RECORD],
    "a version is complete": [
        {
            "client_id": 4321,
            "table_name": "customers",
            "sequence": 1565880018,
            "action": SWITCH_VIEW,
            "table_version": 2,
        }
    ],
}
BATCHES: Final[Json] = {
    "a record": {
        "table_name": "customers",
        "schema": {"properties": {"id": {"type": "integer"}, "name": {"type": "string"}}},
        "messages": [{"action": UPSERT, "sequence": 1565880017, "data": {"id": 1, "name": "Finn"}}],
        "key_names": ["id"],
    },
}
BARE: Final[Json] = {
    "a record": {"id": 1, "event": "send"},
    "several": [{"id": 1}, {"id": 2}],
}
TRANSIT: Final[Json] = {
    "a record": [
        [
            "^ ",
            *(part for pair in _RECORD.items() if pair[0] != "data" for part in pair),
            "data",
            ["^ ", "id", 1, "at", "~m1578950703123"],
        ]
    ]
}
