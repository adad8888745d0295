"""`treadle rejects ...`: records that were accepted and could not be loaded."""

import argparse
import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand, UsageError, parse_positive
from treadle.cli.output import (
    print_json,
    print_line,
    print_objects,
    print_rows,
    to_whole_second,
)
from treadle.cli.result_text import to_json_value
from treadle.cli.store_access import find_source, open_existing_log, open_existing_store
from treadle.cli.time_argument import parse_time
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.files import open_private_file
from treadle.store.model import Source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.text import escape_json

if TYPE_CHECKING:
    from treadle.records.edit import RecordEdit
    from treadle.store.store import Store
    from treadle.tracking.rejects import RejectedRecord, RejectFilter

COLUMNS = ("id", "source", "table", "rejected_at", "reason", "resent", "code", "field")
CAUSE_COLUMNS = (
    *("source", "table", "code", "field", "records", "open"),
    *("first_at", "last_at", "example_id", "example"),
)


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--code", metavar="CODE", help="only of this cause, as `causes` prints it")
    parser.add_argument("--field", metavar="NAME", help="only with this field to blame")
    parser.add_argument("--reason", metavar="TEXT", help="only with this text in the reason")
    parser.add_argument("--since", metavar="TIME", help="only rejected at or after this time")
    parser.add_argument("--until", metavar="TIME", help="only rejected before this time")


def _make_filter(store: "Store", arguments: Arguments) -> "RejectFilter":
    from treadle.store.rejects import RejectQuery
    from treadle.tracking.rejects import RejectFilter

    return RejectFilter(
        RejectQuery(
            source_id=_find_source_id(store, arguments),
            table_name=arguments.table,
            code=_parse_code(arguments.code),
            field=arguments.field,
            since=parse_time("--since", arguments.since),
            until=parse_time("--until", arguments.until),
            open_only=getattr(arguments, "open", False),
        ),
        arguments.reason,
    )


def _find_source_id(store: "Store", arguments: Arguments) -> int | None:
    return find_source(store, None, arguments.source).id if arguments.source else None


def _parse_code(code: str | None) -> str | None:
    from treadle.tables.rejection_reason import RejectionCode

    if code is not None and code not in list(RejectionCode):
        raise UsageError(f"Expected --code of {', '.join(RejectionCode)}; found {code!r}.")
    return code


# --- causes ---


def _causes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--code", metavar="CODE", help="only of this cause")
    parser.add_argument(
        "--open", action="store_true", help="only causes with records not yet sent again"
    )
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def list_causes(config: Config, arguments: Arguments) -> int:
    """List why records were rejected, that with the newest record first."""
    from treadle.store.rejects import RejectQuery
    from treadle.tracking.rejects import RejectPlace, format_reject_id

    limit = parse_positive("--limit", arguments.limit)
    with open_existing_store(config) as store:
        names = {each.id: each.name for each in store.sources.list_sources()}
        wanted = RejectQuery(
            source_id=_find_source_id(store, arguments),
            table_name=arguments.table,
            code=_parse_code(arguments.code),
            open_only=arguments.open,
        )
        found = store.rejects.list_causes(wanted, limit=limit)
    rows = [
        (
            names.get(cause.source_id, str(cause.source_id)),
            cause.table_name,
            cause.code.value,
            cause.field,
            cause.records,
            cause.records - cause.resent,
            to_whole_second(cause.first_at or None),
            to_whole_second(cause.last_at or None),
            format_reject_id(RejectPlace(cause.log, cause.example_position, cause.example_index)),
            cause.example,
        )
        for cause in found
    ]
    print_rows(CAUSE_COLUMNS, rows, as_json=arguments.json)
    return 0


# --- list ---


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _filter_arguments(parser)
    parser.add_argument("--open", action="store_true", help="only those not yet sent again")
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def list_rejects(config: Config, arguments: Arguments) -> int:
    """List rejected records, newest first."""
    from treadle.tracking.receipts import Receipt, make_receipt_codec
    from treadle.tracking.rejects import list_rejects

    limit = parse_positive("--limit", arguments.limit)
    with open_existing_store(config) as store, open_existing_log(config, store) as reader:
        names = {each.id: each.name for each in store.sources.list_sources()}
        codec = make_receipt_codec(store.installation_id, reader)
        chosen = list(islice(list_rejects(store, _make_filter(store, arguments)), limit))
    rows = [
        (
            reject.id,
            names.get(reject.source_id, str(reject.source_id)),
            reject.table_name,
            to_whole_second(reject.rejected_at or None),
            reject.reason,
            None
            if reject.resent is None
            else codec.encode(Receipt(reject.source_id, reject.resent, 1)),
            reject.code.value,
            reject.field,
        )
        for reject in chosen
    ]
    print_rows(COLUMNS, rows, as_json=arguments.json)
    return 0


# --- show ---


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `treadle rejects list` prints it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show_reject(config: Config, arguments: Arguments) -> int:
    """Print one rejected record as it was sent."""
    import msgspec

    from treadle.log.joined import choose_reader
    from treadle.records.record_reader import extract_texts
    from treadle.tracking.receipts import make_receipt_codec
    from treadle.tracking.rejects import find_resent_receipts, get_reject, read_batch

    with open_existing_store(config) as store, open_existing_log(config, store) as reader:
        reject = get_reject(store, arguments.id)
        its = choose_reader(reader, reject.source_id)
        entries = its.find_entries(reject.position, 1)
        batch = read_batch(reject, entries)
        codec = make_receipt_codec(store.installation_id, reader)
        found = find_resent_receipts(its.statistics.find_keys, codec, reject.source_id, [reject.id])
        source = store.sources.get_source(None, reject.source_id)
    version = batch.versions
    told: dict[str, Any] = {
        "id": reject.id,
        "source": source.name if source else str(reject.source_id),
        "table": reject.table_name,
        "reason": reject.reason,
        "code": reject.code.value,
        "field": reject.field,
        "accepted_at": to_json_value(to_whole_second(entries[0].received_at)),
        "rejected_at": to_json_value(to_whole_second(reject.rejected_at or None)),
        "resent": found.get(reject.id),
        "sequence": batch.sequences[reject.index],
        "key_names": list(batch.key_names),
        "table_version": version if isinstance(version, int) else version[reject.index],
    }
    [text] = extract_texts(batch, [reject.index])
    if arguments.json:
        print_json(told | {"record": msgspec.Raw(text.encode())})
        return 0
    for name, value in told.items():
        if isinstance(value, list):
            value = ", ".join(value)
        print_line(f"{name}: {'' if value is None else value}".rstrip())
    print_line(f"record: {escape_json(text)}")
    return 0


# --- resend ---


def _resend_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help="as `treadle rejects list` prints it")
    _filter_arguments(parser)
    parser.add_argument("--all", action="store_true", help="all rejected records")
    edit = parser.add_argument_group("edits")
    edit.add_argument(
        "--record", metavar="FILE", help="send this JSON object instead; - is standard input"
    )
    edit.add_argument(
        "--set",
        metavar="FIELD=JSON",
        action="append",
        default=[],
        help="give a field this value; may be repeated",
    )
    edit.add_argument(
        "--unset",
        metavar="FIELD",
        action="append",
        default=[],
        help="leave a field out; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def resend_rejects(config: Config, arguments: Arguments) -> int:
    """Send rejected records again, edited or as they are; return 2 if some cannot be sent."""
    from treadle.tracking.receipts import make_receipt_codec
    from treadle.tracking.rejects import get_reject, list_rejects

    edit = _make_edit(arguments)
    filters = (
        *(arguments.source, arguments.table, arguments.code, arguments.field),
        *(arguments.reason, arguments.since),
    )
    filtered = any(value is not None for value in (*filters, arguments.until))
    if bool(arguments.ids) + (filtered or arguments.all) != 1:
        raise UsageError(
            "Say which records: by their ids, by --source and the like, or with --all."
        )
    with (
        open_existing_store(config) as store,
        open_existing_log(config, store) as reader,
        _keep_server_from_starting(config.lock_path),
    ):
        if arguments.ids:
            chosen = list(dict.fromkeys(get_reject(store, name) for name in arguments.ids))
        else:
            chosen = list(list_rejects(store, _make_filter(store, arguments)))
        if arguments.record is not None and len(chosen) != 1:
            raise OperatorError(f"--record replaces one record, and {len(chosen)} are meant.")
        sources = _find_sources(store, chosen)
        import asyncio  # which most commands do not need

        with _record_resend(store, sources, chosen) as noted:
            results = asyncio.run(_resend_chosen(config, store, chosen, edit))
            _count_results(noted, results)
        receipts = make_receipt_codec(store.installation_id, reader)
    told: list[tuple[str, str, str | None, str | None]] = []
    for reject, result in results.items():
        if isinstance(result, Exception):
            told.append((reject.id, "failed", None, str(result)))
        else:
            receipt, before = result
            state = "resent before" if before else "resent"
            told.append((reject.id, state, receipts.encode(receipt), None))
    if arguments.json:
        print_objects(("id", "status", "receipt", "error"), told)
    else:
        for name, state, text, error in told:
            print_line(f"{name} {state}: {error or text}")
        if not told:
            print_line("There is no such rejected record.")
    return 2 if any(error for *_, error in told) else 0


async def _resend_chosen(
    config: Config, store: "Store", chosen: "Sequence[RejectedRecord]", edit: "RecordEdit"
) -> "Mapping[RejectedRecord, Any]":
    from treadle.log.registry import open_appender, open_reader
    from treadle.tracking.load_progress import LoadProgress
    from treadle.tracking.rejects import RejectResender

    log = open_appender(config, store.logs)
    progress = LoadProgress(store, lambda: open_reader(config, store.logs))
    try:
        resender = RejectResender(log, progress, read_clock)
        return await resender.resend_all(chosen, edit)
    finally:
        await progress.aclose()
        await log.aclose()


def _make_edit(arguments: Arguments) -> "RecordEdit":
    from treadle.records.edit import RecordEdit

    put: dict[str, bytes] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"Expected --set FIELD=JSON, found {text!r}.")
        put[name] = value.encode()
    record = None
    if arguments.record is not None:
        record = _read_record_file(arguments.record)
    return RecordEdit(record, put, frozenset(arguments.unset))


def _read_record_file(name: str) -> bytes:
    try:
        if name == "-":
            with open(0, "rb", closefd=False) as stream:
                return stream.read()
        return Path(name).read_bytes()
    except OSError as error:
        raise OperatorError(f"The file {name} cannot be read: {error.strerror}.") from None


def _find_sources(store: "Store", chosen: "Sequence[RejectedRecord]") -> list[Source]:
    """Return the sources of records, all of which accept records.

    Raises:
        OperatorError: a source is paused or deleted.
    """
    found = []
    for source_id in dict.fromkeys(reject.source_id for reject in chosen):
        source = store.sources.get_source(None, source_id)
        if source is None or source.deleted_at is not None:
            raise OperatorError(f"The source {source_id} was deleted; it takes no records.")
        if not source.active:
            raise OperatorError(
                f"The source {source.name} is paused; unpause it first with "
                f"`treadle source unpause {source.name}`."
            )
        found.append(source)
    return found


@contextlib.contextmanager
def _record_resend(
    store: "Store", sources: Sequence[Source], chosen: "Sequence[RejectedRecord]"
) -> Iterator[dict[int, dict[str, Any]]]:
    """Record a resend in the trail, for each source by itself.

    Yields:
        The id of each source -> where its counts belong.
    """
    counts = Counter(reject.source_id for reject in chosen)
    with contextlib.ExitStack() as stack:
        yield {
            source.id: stack.enter_context(
                store.trail.follow_action(
                    TrailAction.RESEND_RECORDS,
                    TrailTarget(TargetKind.SOURCE, source.id, source.name),
                    account_id=source.account_id,
                    detail={"records": counts[source.id]},
                )
            )
            for source in sources
        }


def _count_results(
    noted: Mapping[int, dict[str, Any]], results: "Mapping[RejectedRecord, Any]"
) -> None:
    for source_id, detail in noted.items():
        own = [result for reject, result in results.items() if reject.source_id == source_id]
        failed = sum(isinstance(result, Exception) for result in own)
        detail |= {"resent": len(own) - failed, "failed": failed}


# --- the log ---


@contextlib.contextmanager
def _keep_server_from_starting(lock: Path) -> Iterator[None]:
    """Keep a server from starting meanwhile, since its start may put a damaged log aside."""
    descriptor = open_private_file(lock)
    try:
        with contextlib.suppress(OSError):  # a server runs already, which may share the log
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


COMMANDS = (
    CliCommand(
        words=("rejects", "causes"),
        help="list why records were rejected, and how many are open",
        run=list_causes,
        arguments=_causes_arguments,
    ),
    CliCommand(
        words=("rejects", "list"),
        help="list rejected records, newest first",
        run=list_rejects,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("rejects", "show"),
        help="print one rejected record whole",
        run=show_reject,
        arguments=_show_arguments,
    ),
    CliCommand(
        words=("rejects", "resend"),
        help="send rejected records again, edited or as they are",
        run=resend_rejects,
        arguments=_resend_arguments,
        intermixed=True,
    ),
)
