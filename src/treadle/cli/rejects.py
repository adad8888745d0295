"""`treadle rejects ...`: records that were accepted and could not be loaded."""

import argparse
import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, Command, UsageFault
from treadle.cli.output import moment, plain, print_json, print_objects, print_table
from treadle.cli.store import opened, source_named
from treadle.cli.times import microseconds
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorFault
from treadle.files import open_private_file

if TYPE_CHECKING:
    from treadle.ingest.resend import Reject, Wanted
    from treadle.log.protocol import Reader
    from treadle.records.amend import Edit
    from treadle.store.store import Store

COLUMNS = ("id", "source", "table", "rejected_at", "reason", "resent")


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--reason", metavar="TEXT", help="only with this text in the reason")
    parser.add_argument("--since", metavar="TIME", help="only rejected at or after this time")
    parser.add_argument("--until", metavar="TIME", help="only rejected before this time")


def _wanted(store: "Store", arguments: Arguments) -> "Wanted":
    from treadle.ingest.resend import Wanted

    source = source_named(store, None, arguments.source) if arguments.source else None
    return Wanted(
        source_id=source.id if source else None,
        table_name=arguments.table,
        reason=arguments.reason,
        since=microseconds("--since", arguments.since),
        until=microseconds("--until", arguments.until),
    )


# --- list ---


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _filters(parser)
    parser.add_argument("--open", action="store_true", help="only those not yet sent again")
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def list_(config: Config, arguments: Arguments) -> int:
    """List rejected records, newest first."""
    from treadle.ingest.resend import rejects

    if not (arguments.limit.isascii() and arguments.limit.isdigit() and int(arguments.limit)):
        raise OperatorFault(f"--limit is to be a whole number above 0, not {arguments.limit!r}.")
    with opened(config) as store, _reader(config) as reader:
        names = {each.id: each.name for each in store.sources()}
        found = (
            (reject, receipt)
            for reject, receipt in _with_receipts(
                store, reader, rejects(store, _wanted(store, arguments))
            )
            if receipt is None or not arguments.open
        )
        chosen = list(islice(found, int(arguments.limit)))
    rows = [
        (
            reject.id,
            names.get(reject.source_id, str(reject.source_id)),
            reject.table_name,
            moment(reject.rejected_at or None),
            reject.reason,
            receipt,
        )
        for reject, receipt in chosen
    ]
    if arguments.json:
        print_objects(COLUMNS, rows)
    else:
        print_table(COLUMNS, rows)
    return 0


def _with_receipts(
    store: "Store", reader: "Reader", found: "Iterator[Reject]"
) -> "Iterator[tuple[Reject, str | None]]":
    """Rejects with the receipts of their being sent again, asked for a page at a time."""
    while page := list(islice(found, 500)):
        receipts = _receipts(store, reader, page)
        yield from ((reject, receipts.get(reject.id)) for reject in page)


def _receipts(store: "Store", reader: "Reader", found: "Sequence[Reject]") -> dict[str, str]:
    from treadle.ingest.receipt import Receipts
    from treadle.ingest.resend import sent_again

    receipts = Receipts(store.installation_id, reader.log_id)
    known: dict[str, str] = {}
    for source_id in {reject.source_id for reject in found}:
        names = [reject.id for reject in found if reject.source_id == source_id]
        known |= sent_again(reader, receipts, source_id, names)
    return known


# --- show ---


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `treadle rejects list` prints it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show(config: Config, arguments: Arguments) -> int:
    """Print one rejected record whole, as it was sent."""
    import msgspec

    from treadle.ingest.resend import batch_of, named
    from treadle.records.reading import texts

    with opened(config) as store, _reader(config) as reader:
        reject = named(store, arguments.id)
        entries = reader.find(reject.position, 1)
        batch = batch_of(reject, entries)
        resent = _receipts(store, reader, [reject]).get(reject.id)
        source = store.source(None, reject.source_id)
    version = batch.versions
    told: dict[str, Any] = {
        "id": reject.id,
        "source": source.name if source else str(reject.source_id),
        "table": reject.table_name,
        "reason": reject.reason,
        "accepted_at": plain(moment(entries[0].received_at)),
        "rejected_at": plain(moment(reject.rejected_at or None)),
        "resent": resent,
        "sequence": batch.sequences[reject.index],
        "key_names": list(batch.key_names),
        "table_version": version if isinstance(version, int) else version[reject.index],
    }
    [text] = texts(batch, [reject.index])
    if arguments.json:
        print_json(told | {"record": msgspec.Raw(text.encode())})
        return 0
    for name, value in told.items():
        if isinstance(value, list):
            value = ", ".join(value)
        print(f"{name}: {'' if value is None else value}".rstrip())
    print(f"record: {text}")
    return 0


# --- resend ---


def _resend_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help="as `treadle rejects list` prints it")
    _filters(parser)
    parser.add_argument("--all", action="store_true", help="all there are")
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


def resend(config: Config, arguments: Arguments) -> int:
    """Send rejected records again, edited or as they are; 2 when some cannot be sent."""
    from treadle.ingest.receipt import Receipts
    from treadle.ingest.resend import named, rejects

    edit = _edit(arguments)
    filters = (arguments.source, arguments.table, arguments.reason, arguments.since)
    filtered = any(value is not None for value in (*filters, arguments.until))
    if bool(arguments.ids) + (filtered or arguments.all) != 1:
        raise UsageFault(
            "Say which records: by their ids, by --source and the like, or with --all."
        )
    with opened(config) as store, _reader(config) as reader, _alone(config.lock_path):
        if arguments.ids:
            chosen = list(dict.fromkeys(named(store, name) for name in arguments.ids))
        else:
            chosen = list(rejects(store, _wanted(store, arguments)))
        if arguments.record is not None and len(chosen) != 1:
            raise OperatorFault(f"--record replaces one record, and {len(chosen)} are meant.")
        _check_sources(store, chosen)
        results = asyncio.run(_resend(config, store, chosen, edit))
        receipts = Receipts(store.installation_id, reader.log_id)
    told: list[tuple[str, str, str | None, str | None]] = []
    for reject, result in results.items():
        if isinstance(result, Exception):
            told.append((reject.id, "failed", None, str(result)))
        else:
            receipt, before = result
            state = "resent before" if before else "resent"
            told.append((reject.id, state, receipts.write(receipt), None))
    if arguments.json:
        print_objects(("id", "status", "receipt", "error"), told)
    else:
        for name, state, text, error in told:
            print(f"{name} {state}: {error or text}")
        if not told:
            print("There is no such rejected record.")
    return 2 if any(error for *_, error in told) else 0


async def _resend(
    config: Config, store: "Store", chosen: "Sequence[Reject]", edit: "Edit"
) -> "Mapping[Reject, Any]":
    from treadle.ingest.progress import Progress
    from treadle.ingest.resend import Resender
    from treadle.log.local import LocalAppender, LocalReader
    from treadle.server.parts import room_of
    from treadle.server.prepare import carry_requests

    carry_requests(config)
    log = LocalAppender(config.log_path, room=room_of(config))
    progress = Progress(store, lambda: LocalReader(config.log_path))
    try:
        resender = Resender(log, progress, read_clock)
        return await resender.resend_all(chosen, edit)
    finally:
        await progress.aclose()
        await log.aclose()


def _edit(arguments: Arguments) -> "Edit":
    from treadle.records.amend import Edit

    put: dict[str, bytes] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageFault(f"Expected --set FIELD=JSON, found {text!r}.")
        put[name] = value.encode()
    record = None
    if arguments.record is not None:
        record = _read(arguments.record)
    return Edit(record, put, frozenset(arguments.unset))


def _read(name: str) -> bytes:
    try:
        if name == "-":
            with open(0, "rb", closefd=False) as stream:
                return stream.read()
        return Path(name).read_bytes()
    except OSError as error:
        raise OperatorFault(f"The file {name} cannot be read: {error.strerror}.") from None


def _check_sources(store: "Store", chosen: "Sequence[Reject]") -> None:
    """Refuse for a source that takes no pushes either.

    Raises:
        OperatorFault: it is paused or deleted.
    """
    for source_id in dict.fromkeys(reject.source_id for reject in chosen):
        source = store.source(None, source_id)
        if source is None or source.deleted_at is not None:
            raise OperatorFault(f"The source {source_id} was deleted; it takes no records.")
        if not source.active:
            raise OperatorFault(
                f"The source {source.name} is paused; unpause it first with "
                f"`treadle source unpause {source.name}`."
            )


# --- the log ---


@contextlib.contextmanager
def _reader(config: Config) -> "Iterator[Reader]":
    from treadle.log.local import LocalReader

    if not config.log_path.exists():
        raise OperatorFault(f"There is no log in {config.data}; name its folder with --data.")
    reader = LocalReader(config.log_path)
    try:
        yield reader
    finally:
        reader.close()


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Where no server runs, keep one from starting meanwhile: it may put a damaged log aside."""
    descriptor = open_private_file(lock)
    try:
        with contextlib.suppress(OSError):  # a server runs, and shares the log with us
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


COMMANDS = (
    Command(
        words=("rejects", "list"),
        help="list rejected records, newest first",
        run=list_,
        arguments=_list_arguments,
    ),
    Command(
        words=("rejects", "show"),
        help="print one rejected record whole",
        run=show,
        arguments=_show_arguments,
    ),
    Command(
        words=("rejects", "resend"),
        help="send rejected records again, edited or as they are",
        run=resend,
        arguments=_resend_arguments,
        intermixed=True,
    ),
)
