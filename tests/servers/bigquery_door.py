"""The emulator of BigQuery behind a door that makes it as strict as the service is.

It runs in the environment that `make bigquery-needs` makes, and imports nothing of this repository.
The door changes nothing that the emulator does with rows. It

- answers 409 where a job has the id of an earlier one, and keeps the ids of load jobs, in whose
  place the emulator puts its own;
- refuses a script with a definition of a table between BEGIN TRANSACTION and its end;
- keeps what the emulator says of a table and what the table has the same: of itself it forgets a
  change by ALTER TABLE, or a JSON column of CREATE TABLE, when it is asked for the fields, and a
  change by `tables.patch` when rows are written;
- answers 503, on request, before a job is begun or in place of the answer to it, as a network that
  breaks: `POST /door` with {"prefix": of the id, "after": whether the job is done, "times": n}.

    PYTHON bigquery_door.py PORT
"""

import json
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JOBS = re.compile(r"(?P<upload>/upload)?/bigquery/v2/projects/[^/]+/jobs(?:/(?P<id>[^/?]+))?")
TABLES = re.compile(r"/bigquery/v2/projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")
TRANSACTION = re.compile(
    r"\bBEGIN\s+TRANSACTION\b(.*?)\b(?:COMMIT|ROLLBACK)\s+TRANSACTION\b", re.IGNORECASE | re.DOTALL
)
DEFINITION = re.compile(r";\s*(?:ALTER|CREATE(?!\s+TEMP)|DROP)\b", re.IGNORECASE)
API_TYPES = {"BOOL": "BOOLEAN", "FLOAT64": "FLOAT", "INT64": "INTEGER"}
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`", re.DOTALL)


class StrictDoor:
    """An application around that of the emulator."""

    def __init__(self, app: Callable[..., Awaitable[None]], context: Any) -> None:
        self._app = app
        self._context = context
        self._ids: dict[str, str] = {}
        """Id of a job as it was asked for -> as the emulator has it."""
        self._uploads: dict[str, str] = {}
        """Id of an upload -> of its job."""
        self._faults: dict[str, Any] = {"times": 0}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if table := TABLES.fullmatch(scope.get("path", "")):
            tell_fields(self._context, table.groups())
            await self._app(scope, receive, send)
            if scope["method"] == "PATCH":
                add_columns(self._context, table.groups())
            return
        path = JOBS.fullmatch(scope.get("path", ""))
        if scope["type"] != "http" or (path is None and scope["path"] != "/door"):
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path is None:
            self._faults = json.loads(body)
            await answer(send, 200, {})
        elif scope["method"] == "POST" and not path["id"]:
            await self._begin_job(scope, body, send, uploads=bool(path["upload"]))
        elif scope["method"] == "PUT":
            await self._end_upload(scope, body, send)
        else:
            if path["id"] in self._ids:
                kept = self._ids[path["id"]]
                scope = {**scope, "path": scope["path"].replace(path["id"], kept)}
                scope["raw_path"] = scope["path"].encode()
            await self._ask(
                scope, body, send, {kept: path["id"]} if path["id"] in self._ids else {}
            )

    async def _begin_job(
        self, scope: MutableMapping[str, Any], body: bytes, send: Send, *, uploads: bool
    ) -> None:
        job = json.loads(body)
        job_id = job.get("jobReference", {}).get("jobId", "")
        if self._is_lost(job_id, after=False):
            await answer(send, 503, describe("backendError", "lost before it arrived"))
            return
        if job_id in self._ids:
            await answer(send, 409, describe("duplicate", f"Already Exists: Job {job_id}"))
            return
        text = job.get("configuration", {}).get("query", {}).get("query", "")
        if defines_inside(text):
            words = "DDL statements are not supported in a transaction, other than of temp tables"
            await answer(send, 400, describe("invalidQuery", words))
            return
        status, headers, answered = await self._forward(scope, body)
        if uploads:
            uploaded = dict(headers).get(b"x-guploader-uploadid", b"").decode()
            self._uploads[uploaded] = job_id
        elif status == 200 and job_id and not job["configuration"].get("dryRun"):
            self._ids[job_id] = job_id
            if self._is_lost(job_id, after=True):
                await answer(send, 503, describe("backendError", "the answer was lost"))
                return
        await reply(send, status, headers, answered)

    async def _end_upload(self, scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
        found = re.search(rb"upload_id=([^&]+)", scope["query_string"])
        job_id = self._uploads.get(found[1].decode() if found else "", "")
        status, headers, answered = await self._forward(scope, body)
        if status == 200 and job_id:
            its = json.loads(answered)
            self._ids[job_id] = its["jobReference"]["jobId"]
            its["jobReference"]["jobId"] = job_id
            answered = json.dumps(its).encode()
            if self._is_lost(job_id, after=True):
                await answer(send, 503, describe("backendError", "the answer was lost"))
                return
        await reply(send, status, headers, answered)

    async def _ask(
        self, scope: MutableMapping[str, Any], body: bytes, send: Send, names: dict[str, str]
    ) -> None:
        status, headers, answered = await self._forward(scope, body)
        for kept, asked in names.items():
            answered = answered.replace(f'"{kept}"'.encode(), f'"{asked}"'.encode())
        await reply(send, status, headers, answered)

    def _is_lost(self, job_id: str, *, after: bool) -> bool:
        faults = self._faults
        if not faults["times"] or after != faults["after"]:
            return False
        if not job_id.startswith(faults["prefix"]) or faults.get("without", "\0") in job_id:
            return False
        faults["times"] -= 1
        return True

    async def _forward(
        self, scope: MutableMapping[str, Any], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        kept: dict[str, Any] = {"status": 500, "headers": [], "body": b""}
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept["status"] = message["status"]
                kept["headers"] = [tuple(each) for each in message.get("headers", ())]
            else:
                kept["body"] += message.get("body", b"")

        await self._app(scope, receive, send)
        return kept["status"], kept["headers"], kept["body"]


def tell_fields(context: Any, place: tuple[str, ...]) -> None:
    """Have the emulator say of a table whether it is there, and what fields it has."""
    from bqemulator.catalog.ddl_sync import sync_created_table
    from bqemulator.catalog.models import TableFieldSchema, TableSchema
    from bqemulator.storage.type_map import bq_to_duckdb, duckdb_to_bq

    table = context.catalog.get_table(*place)
    if table is not None and table.table_type != "TABLE":
        return
    there = list_columns(context, place)
    if there and table is None:  # by ALTER TABLE ... RENAME TO
        project, dataset, name = place
        sync_created_table(f"CREATE TABLE `{dataset}`.`{name}` AS SELECT 1", project, context)
        table = context.catalog.get_table(*place)
    elif table is not None and not there:
        context.catalog.delete_table(*place)
        return
    if table is None:
        return
    known = {field.name: field for field in table.schema_.fields}
    fields = []
    for name, type_ in there.items():
        field = known.get(name)
        if field is None or not (field.mode == "REPEATED" or bq_to_duckdb(field.type) == type_):
            spelled = duckdb_to_bq(type_)
            field = TableFieldSchema(name=name, type=API_TYPES.get(spelled, spelled))
        fields.append(field)
    if tuple(fields) != table.schema_.fields:
        schema = TableSchema(fields=tuple(fields))
        context.catalog.update_table(table.model_copy(update={"schema_": schema}))


def add_columns(context: Any, place: tuple[str, ...]) -> None:
    """Have a table the columns that a request added to its fields."""
    from bqemulator.storage.sql_identifiers import quoted_table_ref
    from bqemulator.storage.type_map import bq_to_duckdb

    table = context.catalog.get_table(*place)
    there = list_columns(context, place) if table is not None else {}
    for field in table.schema_.fields if table is not None else ():
        if field.name not in there:
            place_ = quoted_table_ref(*place)
            type_ = bq_to_duckdb(field.type)
            context.engine.execute(f'ALTER TABLE {place_} ADD COLUMN "{field.name}" {type_}')


def list_columns(context: Any, place: tuple[str, ...]) -> dict[str, str]:
    import duckdb
    from bqemulator.storage.sql_identifiers import quoted_table_ref

    asked = f"PRAGMA table_info({quoted_table_ref(*place)})"
    try:
        return {row[1]: row[2] for row in context.engine.execute(asked).fetchall()}
    except duckdb.Error:  # it is not there
        return {}


def defines_inside(text: str) -> bool:
    """Whether a script defines a table that stays inside of a transaction."""
    bare = QUOTED.sub("''", text)
    return any(DEFINITION.search(f";{part}") for part in TRANSACTION.findall(bare))


def describe(reason: str, message: str) -> dict[str, Any]:
    code = {"duplicate": 409, "invalidQuery": 400}.get(reason, 503)
    return {
        "error": {
            "code": code,
            "message": message,
            "errors": [{"reason": reason, "message": message, "domain": "global"}],
        }
    }


async def answer(send: Send, status: int, value: object) -> None:
    await reply(send, status, [(b"content-type", b"application/json")], json.dumps(value).encode())


async def reply(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    kept = [each for each in headers if each[0].lower() != b"content-length"]
    kept.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": body})


def end_with_parent() -> None:
    """End when whoever started this has ended, however."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    from bqemulator import server
    from bqemulator.config import Settings

    threading.Thread(target=end_with_parent, daemon=True).start()
    create_app = server.create_app
    server.create_app = lambda context: StrictDoor(create_app(context), context)
    server.run_forever(
        Settings(rest_host="127.0.0.1", rest_port=int(sys.argv[1]), grpc_port=0, log_level="error")
    )


if __name__ == "__main__":
    main()
