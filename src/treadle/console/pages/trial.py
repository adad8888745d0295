"""Try: what a load of pasted records would do (P11)."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from typing import Any, Final

import anyio.to_thread
import msgspec
from starlette.requests import Request

from treadle.console import view
from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.console.pages.tables import read_names
from treadle.console.pasted_text import (
    PastedBody,
    PasteKind,
    PasteRefusedError,
    read_pasted,
)
from treadle.control.lookups import find_source
from treadle.errors import OperatorError, RequestRefusedError, RetriableError
from treadle.records import batch, push, table_schema
from treadle.records.field_check import RecordsRefusedError
from treadle.records.message_batch import MessageBatch
from treadle.records.validation.effort import EffortSpentError, make_inline_effort
from treadle.store.model import ConsoleRole, Source

FAULTS_SHOWN: Final = 50
"""Most records that a page names of each kind."""

OFFERED_MAX: Final = 100
OFFERED_CHARACTERS_MAX: Final = 60
"""Names of tables that a field offers."""

STATEMENTS_SHOWN: Final = 50
DOCUMENT_CHARACTERS_MAX: Final = 20_000

NO_SOURCE: Final = "Choose a source. What a load does depends on its tables and options."
TOO_MUCH_WORK: Final = (
    "The schema takes too much work for a page. Send the request with ?dry_run=1: the server then "
    "checks it in a process of its own."
)


@dataclass(frozen=True, slots=True)
class TypedTrial:
    """What is in the form.

    Attributes:
        text: as pasted.
        source: name or id.
        table: of plain records.
        keys: names of key fields, separated by commas.
    """

    text: str = ""
    source: str = ""
    table: str = ""
    keys: str = ""

    @property
    def key_names(self) -> list[str]:
        """Return the names of key fields."""
        return [name.strip() for name in self.keys.split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class RecordFault:
    """What is wrong with one record.

    Attributes:
        number: of the record in what was pasted, from 1.
        excerpt: its beginning.
        reasons: one sentence or more.
    """

    number: int
    excerpt: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What would become of what was pasted.

    Attributes:
        kind: what it was taken for.
        tables: for each table a forecast as `?dry_run=1` answers it.
        rejected: for each table the records that would be rejected.
        refused: records for which the whole request would be refused.
        refusal: why the whole request would be refused; None where it would be accepted.
        status: of that refusal.
    """

    kind: PasteKind
    tables: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[tuple[RecordFault, ...], ...] = ()
    refused: tuple[RecordFault, ...] = ()
    refusal: str | None = None
    status: int | None = None


def show_trial(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the form."""
    typed = TypedTrial(source=request.query.get("source", ""), table=request.query.get("table", ""))
    return render_trial(services, request, typed)


async def run_trial(
    services: ConsoleServices, request: PageRequest, connection: Request
) -> PageAnswer:
    """Plan a load of what was pasted."""
    typed = TypedTrial(
        request.form.get("text", ""),
        request.get_text("source"),
        request.get_text("table"),
        request.get_text("keys"),
    )
    source = await anyio.to_thread.run_sync(
        find_source, services.store, request.account, typed.source
    )
    if source is None:
        return await _render(services, request, typed, error=NO_SOURCE, status=400)
    try:
        pasted = await anyio.to_thread.run_sync(
            read_pasted,
            typed.text,
            typed.table,
            typed.key_names,
            request.account.id,
            request.now * 1000,
        )
    except PasteRefusedError as refused:
        return await _render(services, request, typed, error=str(refused), status=400)
    try:
        plan = await plan_pasted(services, request, source, pasted)
    except (RetriableError, OperatorError) as error:
        told = f"The destination cannot be asked now: {error}"
        return await _render(services, request, typed, error=told, status=503)
    return await _render(services, request, typed, plan=plan)


async def plan_pasted(
    services: ConsoleServices, request: PageRequest, source: Source, pasted: PastedBody
) -> TrialPlan:
    """Return what a load would do: the checks of a request, and then its dry run.

    Raises:
        RetriableError, OperatorError: the destination cannot be asked.
    """
    try:
        batches = await anyio.to_thread.run_sync(
            decode_pasted, services, request.account.id, source, pasted
        )
        if services.plan_dry_run is None:
            raise RetriableError("nothing is planned here")
        found = await services.plan_dry_run(request.account.id, source.id, batches)
    except RecordsRefusedError as refused:
        return _describe_refused(pasted, refused)
    except RequestRefusedError as refused:
        message = view.describe_refusal(refused.body)
        return TrialPlan(pasted.kind, refusal=message, status=refused.status)
    from treadle.destinations.forecast import forecast_document

    tables = tuple(forecast_document(one) for one in found)
    rejected = tuple(_list_rejected(pasted, one) for one in tables)
    return TrialPlan(pasted.kind, tables, rejected)


def decode_pasted(
    services: ConsoleServices, account_id: int, source: Source, pasted: PastedBody
) -> list[MessageBatch]:
    """Check a body as the server checks a request, and return what it holds.

    Raises:
        RequestRefusedError: the request would be refused.
    """
    schemas = {
        one.table_name: one.document for one in services.store.table_schemas.list_schemas(source.id)
    }
    try:
        return decode_body(pasted, account_id, schemas)
    except EffortSpentError:
        raise RequestRefusedError(422, TOO_MUCH_WORK) from None


def decode_body(
    pasted: PastedBody, account_id: int, schemas: Mapping[str, bytes]
) -> list[MessageBatch]:
    """Return what a body holds, checked.

    Args:
        pasted: the body.
        account_id: whose it has to be.
        schemas: name of a table -> its schema, of the source.

    Raises:
        RequestRefusedError: the request would be refused.
        EffortSpentError: it would take too long.
    """
    if pasted.kind is PasteKind.BATCH:
        return batch.read_inline(pasted.body)
    found = push.check_body(push.decode_body(pasted.body, transit=False), account_id)
    failures = table_schema.find_failures(found, schemas, make_inline_effort())
    if failures:
        raise RecordsRefusedError(
            [{"data": one.lines} for one in failures],
            [pasted.quote_record_of(one.table_name, one.place)[0] for one in failures],
        )
    return table_schema.add_schemas(found, schemas)


def _describe_refused(pasted: PastedBody, refused: RecordsRefusedError) -> TrialPlan:
    body: Any = refused.body
    reasons = [one["reason"] for one in body["errors"]]
    faults = [
        RecordFault(number + 1, pasted.quote_record(number), list_reasons(reason))
        for number, reason in zip(refused.records, reasons, strict=False)
    ]
    return TrialPlan(
        pasted.kind,
        refused=tuple(faults[:FAULTS_SHOWN]),
        refusal=f"The request would be refused: {view.count_words(len(faults), 'record')} "
        f"{'is not as it' if len(faults) == 1 else 'are not as they'} must be.",
        status=refused.status,
    )


def list_reasons(reason: object) -> tuple[str, ...]:
    """Return the reasons of one record as sentences: a text, or field -> texts."""
    if isinstance(reason, Mapping):
        return tuple(
            f"{name}: {word}"
            for name, words in reason.items()
            for word in (words if isinstance(words, list) else [words])
        )
    return (str(reason),)


def _list_rejected(pasted: PastedBody, table: Mapping[str, Any]) -> tuple[RecordFault, ...]:
    found = []
    for one in table.get("rejected", ())[:FAULTS_SHOWN]:
        place, excerpt = pasted.quote_record_of(table["table"], one["record"])
        found.append(RecordFault(place + 1, excerpt, (one["reason"],)))
    return tuple(found)


async def _render(
    services: ConsoleServices, request: PageRequest, typed: TypedTrial, **values: Any
) -> PageAnswer:
    made: PageAnswer = await anyio.to_thread.run_sync(
        partial(render_trial, services, request, typed, **values)
    )
    return made


def render_trial(
    services: ConsoleServices,
    request: PageRequest,
    typed: TypedTrial,
    *,
    plan: TrialPlan | None = None,
    error: str | None = None,
    status: int = 200,
) -> PageAnswer:
    """Return the page with what was pasted, and what would become of it."""
    sources = [
        row
        for row in services.store.sources.list_sources(request.account.id)
        if row.deleted_at is None
    ]
    return PageAnswer(
        "trial.html",
        {
            "title": "Try",
            "section": "try",
            "command": make_command(services.data_flag, typed, sources),
            "typed": typed,
            "sources": sources,
            "known": list_table_names(services, request),
            "names": [(one.id, one.name) for one in sources],
            "chosen": typed.source or (str(sources[0].id) if len(sources) == 1 else ""),
            "plan": plan,
            "tables": [] if plan is None else list(zip(plan.tables, plan.rejected, strict=True)),
            "document": None if plan is None or not plan.tables else format_document(plan.tables),
            "faults_shown": FAULTS_SHOWN,
            "statements_shown": STATEMENTS_SHOWN,
            "error": error,
        },
        status,
    )


def list_table_names(services: ConsoleServices, request: PageRequest) -> list[str]:
    """Return names of tables that are there, for the field to offer: short ones, 100 at most."""
    seen = services.sampler.read().get_account(request.account.id)
    tables = read_names(services, request.account, seen)
    names = {name for _, name in tables if len(name) <= OFFERED_CHARACTERS_MAX}
    return nsmallest(OFFERED_MAX, names)


def format_document(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return forecasts as `?dry_run=1` answers them; cut where they are long."""
    text = json.dumps({"dry_run": True, "tables": tables}, ensure_ascii=True)
    if len(text) > DOCUMENT_CHARACTERS_MAX:
        return f"{text[:DOCUMENT_CHARACTERS_MAX]}..."
    return msgspec.json.format(text, indent=2)


def make_command(data_flag: str, typed: TypedTrial, sources: Sequence[Source]) -> str:
    """Return the command that plans a file of records."""
    source = next((one for one in sources if str(one.id) == typed.source), None)
    words = ["treadle plan"]
    if source is not None and len(sources) > 1:
        words.append(f"--source {shlex.quote(source.name)}")
    words.append(f"--table {shlex.quote(view.show_text(typed.table or 'customers', 200))}")
    words += [f"--key {shlex.quote(view.show_text(name, 200))}" for name in typed.key_names[:10]]
    return " ".join(words) + f"{data_flag} records.jsonl"


ROUTES: Final = (PageRoute("/try", show_trial, task=run_trial, role=ConsoleRole.OPERATOR),)
