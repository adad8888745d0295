"""`treadle push`: pushes the records of files into a table through the Import API."""

import argparse
import glob
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from treadle.cli.command import Arguments, CliCommand, collect_flags, print_warning
from treadle.cli.folder_server import ADDRESS_HELPS, FoundServer, find_folder_server, require_server
from treadle.cli.output import print_error, print_line
from treadle.cli.progress_bar import ProgressDisplay, show_progress, show_waiting
from treadle.cli.resume_file import PushProgress, ResumeFile
from treadle.cli.store_access import find_source, open_existing_store
from treadle.config import PUSH_SETTINGS, Config, PushConfig, mask_password
from treadle.counting import count_noun
from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.store.model import Source
from treadle.text import digest_text

if TYPE_CHECKING:
    import httpx

    from treadle.client.receipt_follower import AcknowledgedRequest, PushOutcome
    from treadle.client.request_batch import RequestBatch
    from treadle.client.request_retry import RequestRetry
    from treadle.record_files.record_block import RecordBlock
    from treadle.record_files.record_check import RecordChecker
    from treadle.record_files.record_source import ReadOptions

FIELDS_SHOWN: Final = 20
"""Fields that were left out, or rounded, of which `--wait` tells."""

PUSHED_NOTE: Final = "all records are accepted; they load in the background (`treadle ledger`)"
STOPPED_NOTE: Final = (
    "all records are accepted and wait until somebody acts (`treadle problems` says how)"
)
STANDARD_INPUT: Final = "-"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="JSON (lines, an array or objects), CSV or Parquet, also compressed by gzip or zstd; "
        "or a pattern such as 'orders-*.csv'; - is standard input",
    )
    parser.add_argument("--table", required=True, metavar="NAME", help="table to push to")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="FIELD",
        help="key field; repeat it for a key of several fields (default: no key, every record is "
        "a new row)",
    )
    add_reading_arguments(parser)
    parser.add_argument(
        "--no-resume",
        action="store_true",
        help="begin at the first record, even if an earlier push was interrupted",
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="then wait until every record is loaded, and print what became of them",
    )


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how files are read."""
    parser.add_argument(
        "--sequence-field",
        metavar="FIELD",
        help="field with the sequence, a whole number (default: made from the time, "
        "so that later records and later pushes win)",
    )
    parser.add_argument(
        "--format",
        choices=("json", "csv", "parquet"),
        help="form of the files (default: their first bytes tell)",
    )
    parser.add_argument(
        "--delimiter",
        metavar="CHARACTER",
        help="delimiter of CSV, tab for a tab (default: the one that the header has)",
    )
    parser.add_argument(
        "--types",
        action="append",
        default=[],
        metavar="TYPES",
        help="types of CSV columns: auto (default) or text, and COLUMN=TYPE, joined by commas; "
        "a TYPE is text, integer, number, decimal, boolean, timestamp or json",
    )
    parser.add_argument(
        "--schema",
        metavar="FILE",
        help="JSON Schema that the records fit, which says their types",
    )


def run_push(config: Config, arguments: Arguments) -> int:
    """Push files."""
    import asyncio  # here and below, because most commands do not need it

    push = PushConfig.read(collect_flags(arguments, PUSH_SETTINGS), warn=print_warning)
    files = find_files(arguments.files)
    target = find_target(config, push)
    options = make_read_options(arguments, find_table_schema(config, target, arguments.table))
    bookmark = None
    if STANDARD_INPUT not in files and not arguments.no_resume:
        bookmark = ResumeFile(
            config.push_path,
            [Path(file) for file in files],
            target.url,
            target.identity,
            arguments.table,
            *arguments.key,
            f"sequence={arguments.sequence_field}",
            f"format={arguments.format} {arguments.delimiter}",
            f"types={arguments.types} {options.schema!r} {options.types.schema!r}",
        )
    earlier = bookmark.read() if bookmark else None
    # Nanoseconds, as 19 digits. A billion records take no more than a second of them, so that a
    # later push begins with a higher sequence.
    progress = earlier or PushProgress(
        base=time.time_ns(), records=0, push_id=uuid.uuid4().hex, batch_records=push.batch_records
    )
    if bookmark and not earlier:
        # Before the first request: its answer may be lost, and to send it again under another key
        # would store its records twice.
        bookmark.write(progress)
    begun = time.monotonic()
    with show_progress(_sum_sizes(files), progress.records) as shown:
        job = PushJob(
            arguments.table, tuple(arguments.key), target, push, options, bookmark, shown, progress
        )
        try:
            asyncio.run(job.run(files, arguments.sequence_field))
        except KeyboardInterrupt:
            print_error(f"Stopped; {job.describe_progress()}.")
            return 130
        except (OperatorError, RetriableError) as error:
            kind = RetriableError if isinstance(error, RetriableError) else OperatorError
            raise kind(f"{str(error).rstrip('.')}; {job.describe_progress(error)}.") from error
    seconds = time.monotonic() - begun
    if bookmark:
        bookmark.remove()
    sent = job.progress.records - progress.records
    rate = f"{sent / seconds:,.0f} records/s" if seconds else "at once"
    before = f", after {progress.records:,} of an earlier run" if progress.records else ""
    print_line(
        f"Pushed {count_noun(sent, 'record')} to {arguments.table} in {seconds:.1f} s "
        f"({rate}){before}.",
        flush=True,
    )
    if not arguments.wait:
        return 0
    if progress.records:  # of which the receipts are not kept
        print_error(
            f"--wait follows the records of this run, not the {progress.records:,} of an earlier "
            "run: `treadle rejects list` shows which of those were rejected."
        )
    return print_outcome(config, job, begun)


def print_outcome(config: Config, job: "PushJob", begun: float) -> int:
    """Wait until the pushed records are loaded, and print what became of them."""
    import asyncio

    try:
        with show_waiting() as report:
            fate = asyncio.run(
                job.wait_until_loaded(report, lambda: find_trouble(config, job.target))
            )
    except KeyboardInterrupt:
        print_error(f"Stopped; {PUSHED_NOTE}.")
        return 130
    except TableStoppedError as error:
        raise TableStoppedError(f"{str(error).rstrip('.')}; {STOPPED_NOTE}.") from error
    except (OperatorError, RetriableError) as error:
        raise type(error)(f"{str(error).rstrip('.')}; {PUSHED_NOTE}.") from error
    print_line(
        f"After {time.monotonic() - begun:.1f} s: {fate.loaded:,} loaded, "
        f"{fate.superseded:,} superseded, {fate.rejected:,} rejected."
    )
    for (field_name, reason), records in islice(fate.left_out.items(), FIELDS_SHOWN):
        print_error(f"Field {field_name} is left out of {count_noun(records, 'record')}: {reason}.")
    for field_name, values in islice(fate.rounded.items(), FIELDS_SHOWN):
        verb = "was" if values == 1 else "were"
        print_error(f"Field {field_name}: {count_noun(values, 'value')} {verb} rounded.")
    if not fate.rejected:
        return 0
    print_error(f"Rejected, the first because: {fate.reason}. `treadle rejects list` shows all.")
    if fate.trouble is not None:
        print_error(f"{fate.trouble[0].upper()}{fate.trouble[1:]}.")
    return 1


# What is read ------------------------------------------------------------------------------------


def find_files(words: Sequence[str]) -> list[str]:
    """Return the names of the files that are meant, a pattern's in the order of their names.

    Raises:
        OperatorError: a file cannot be read, or a pattern fits none.
    """
    found: list[str] = []
    for word in words:
        if word != STANDARD_INPUT and glob.has_magic(word) and not Path(word).exists():
            names = glob.glob(word, recursive=True)  # noqa: PTH207 - a pattern may be absolute
            names = sorted(name for name in names if Path(name).is_file())
            if not names:
                raise OperatorError(f"No file fits the pattern {word}.")
            found += names
        else:
            found.append(word)
    for name in found:
        if name != STANDARD_INPUT:
            open_input(name).close()
    return found


def make_read_options(arguments: Arguments, table_schema: bytes | None) -> "ReadOptions":
    """Return how the files are read, as the arguments of `add_reading_arguments` say.

    Args:
        arguments: the arguments.
        table_schema: JSON text of the schema that the table has; it types the columns of CSV.

    Raises:
        OperatorError: an argument is not valid.
    """
    from treadle.record_files.column_kinds import ColumnKind
    from treadle.record_files.csv_reader import CsvTypes
    from treadle.record_files.record_source import FileFormat, ReadOptions, parse_types

    try:
        guess, named = parse_types(arguments.types)
    except ValueError as error:
        raise OperatorError(
            f"--types is to be auto, text or COLUMN=TYPE with one of {', '.join(ColumnKind)}; it "
            f"has {str(error)!r}."
        ) from error
    if arguments.sequence_field is not None:
        named.setdefault(arguments.sequence_field, ColumnKind.INTEGER)
    delimiter = {"tab": "\t", "\\t": "\t"}.get(arguments.delimiter, arguments.delimiter)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
        raise OperatorError(f"--delimiter is to be one character or tab, not {delimiter!r}.")
    own = None if arguments.schema is None else _read_schema(arguments.schema)
    known = own or table_schema
    schema = None if known is None else json.loads(known)
    return ReadOptions(
        format=None if arguments.format is None else FileFormat(arguments.format),
        delimiter=delimiter,
        types=CsvTypes(guess=guess, named=named, schema=schema),
        schema=own,
        warn=lambda text: print_error(f"Warning: {text}"),
    )


def _read_schema(name: str) -> bytes:
    with open_input(name) as stream:
        try:
            value: Any = json.loads(stream.read())
        except ValueError as error:
            raise OperatorError(f"The schema {name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise OperatorError(f"The schema {name} is not a JSON object.")
    return json.dumps(value).encode()


def read_files(files: Sequence[str], options: "ReadOptions", skip: int) -> "Iterator[FileRecords]":
    """Yield the records of each file, without the first `skip` of all."""
    from treadle.record_files.record_block import RecordSkipper
    from treadle.record_files.record_source import read_records

    options = replace(options, name_files=len(files) > 1)
    skipper = RecordSkipper(skip)
    size_before = 0
    for name in files:
        with open_input(name) as stream:
            chunks = skipper.skip(read_records(stream, name, options))
            yield FileRecords(chunks, size_before)
            size_before += os.fstat(stream.fileno()).st_size


@dataclass(frozen=True, slots=True)
class FileRecords:
    """The records of one file.

    Attributes:
        chunks: of the records.
        size_before: bytes of the files before it.
    """

    chunks: "Iterator[RecordBlock]"
    size_before: int


def _read_batches(
    found: "Iterator[FileRecords]", checker: "RecordChecker", progress: PushProgress
) -> "Iterator[RequestBatch]":
    """Yield the batches of all files. Each file begins a batch of its own."""
    from treadle.record_files.batching import make_batches

    start = progress.records
    for file in found:
        for batch in make_batches(
            file.chunks,
            checker,
            base=progress.base,
            start=start,
            records_max=progress.batch_records,
        ):
            start = batch.end
            yield replace(batch, read=file.size_before + batch.read)


# Where to ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class PushTarget:
    """The server and the source that records are pushed to.

    Attributes:
        client_id: the account of the token; None where it is not known.
        identity: of the source, without its token; for the name of the resume file.
        socket: the UNIX socket to connect to; None to connect to the host of the URL.
        source_id: of the source; None where the store is not here.
    """

    url: str
    token: str
    client_id: int | None
    identity: str
    socket: Path | None = None
    source_id: int | None = None


def find_target(config: Config, push: PushConfig) -> PushTarget:
    """Return the target. What no flag gives comes from the store in the data folder.

    Raises:
        OperatorError: something is still missing; the text names the command or flag that gives it.
            Or no server of the data folder runs, and no flag names another one.
    """
    target = _choose_target(config, push)
    if push.url is None:
        require_server(config, FoundServer(target.url, target.socket))
    return target


def _choose_target(config: Config, push: PushConfig) -> PushTarget:
    server = FoundServer(push.url) if push.url is not None else find_folder_server(config)
    url, socket = server.url.rstrip("/"), server.socket
    if push.token is not None:
        identity = digest_text(push.token).hex()
        client_id, source_id = _find_owner(config, push.token)
        client_id = client_id if push.client_id is None else push.client_id
        return PushTarget(url, push.token, client_id, identity, socket, source_id)
    with open_existing_store(config) as store:
        if push.source is None:
            source = find_only_source(store.sources.list_sources())
        else:
            source = find_source(store, None, push.source)
        kept = [token for token in store.tokens.list_tokens(source.id) if token.secret is not None]
    if not kept or kept[-1].secret is None:
        raise OperatorError(
            f"No token of the source {source.name} is kept here; make one with "
            f"`treadle token create {source.name}`, and give it in TREADLE_PUSH_TOKEN."
        )
    client_id = source.account_id if push.client_id is None else push.client_id
    return PushTarget(url, kept[-1].secret, client_id, f"source {source.id}", socket, source.id)


def find_only_source(sources: Iterable[Source]) -> Source:
    """Return the only source that accepts pushes.

    Raises:
        OperatorError: there is none, or several; the text names the command to type.
    """
    there = [s for s in sources if s.type == "import_api" and s.deleted_at is None]
    active = [source for source in there if source.active]
    if not active and there:
        names = ", ".join(source.name for source in there)
        raise OperatorError(
            f"All sources are paused ({names}); go on with `treadle source unpause SOURCE`."
        )
    if not active:
        raise OperatorError(
            "There is no active source to push to; "
            "make one with `treadle source create DISPLAY_NAME`."
        )
    if len(active) > 1:
        names = ", ".join(source.name for source in active)
        raise OperatorError(f"There are several sources, say which with --source: {names}.")
    return active[0]


def _find_owner(config: Config, token: str) -> tuple[int | None, int | None]:
    """Return the account and the source of a token; None where they are not known here."""
    if config.has_store():
        with open_existing_store(config) as store:
            owner = store.tokens.find_owner(digest_text(token))
        if owner is not None:
            return owner.account_id, owner.source_id
    return None, None


def find_table_schema(config: Config, target: PushTarget, table: str) -> bytes | None:
    """Return the JSON text of the schema that a table has; None where none is known here."""
    if target.source_id is None:
        return None
    with open_existing_store(config) as store:
        found = store.table_schemas.find_schema(target.source_id, table)
    return None if found is None else found.document


def find_trouble(config: Config, target: PushTarget) -> str | None:
    """Return why nothing is loaded into the destination of the source; None for nothing known."""
    if target.source_id is None:
        return None
    with open_existing_store(config) as store:
        row = store.destinations.find_destination_of_source(target.source_id)
    return None if row is None else row.trouble


# The work ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class PushJob:
    """One run of a push.

    Attributes:
        keys: key fields; empty where every record is a new row.
        progress: how many records the server has acknowledged.
    """

    table: str
    keys: tuple[str, ...]
    target: PushTarget
    push: PushConfig
    options: "ReadOptions"
    resume_file: ResumeFile | None
    display: ProgressDisplay
    progress: PushProgress
    _requests: "list[AcknowledgedRequest]" = field(default_factory=list)

    async def run(self, files: Sequence[str], sequence_field: str | None) -> None:
        """Push every record that an earlier run did not push."""
        from treadle.client.read_ahead import read_ahead
        from treadle.client.request_batch import FormTemplate
        from treadle.client.request_sender import RequestSender
        from treadle.record_files.record_check import RecordChecker

        form = FormTemplate(self.target.client_id, self.table, self.keys)
        checker = RecordChecker(self.keys, sequence_field)
        found = read_files(files, self.options, self.progress.records)
        batches = read_ahead(_read_batches(found, checker, self.progress), self.push.connections)
        async with self._open_client() as client:
            sender = RequestSender(client, self._make_retry(), self.progress.push_id)
            await sender.send_all(
                batches, form.choose, self.push.connections, self._record_acknowledged
            )

    async def wait_until_loaded(
        self, report: Callable[[str | None], None], explain: Callable[[], str | None]
    ) -> "PushOutcome":
        """Wait until every pushed record is loaded, as `ReceiptFollower` does."""
        from treadle.client.receipt_follower import ReceiptFollower
        from treadle.client.request_retry import RequestRetry

        url = mask_password(self.target.url)
        retry = RequestRetry(url, self.push.retry_seconds, report)
        async with self._open_client() as client:
            follower = ReceiptFollower(client, retry, report, explain)
            return await follower.wait_until_loaded(self._requests)

    def _make_retry(self) -> "RequestRetry":
        from treadle.client.request_retry import RequestRetry

        url = mask_password(self.target.url)
        return RequestRetry(url, self.push.retry_seconds, self.display.show_waiting)

    def _open_client(self) -> "httpx.AsyncClient":
        # Imported here: it takes a tenth of a second, which other commands need not spend.
        from treadle.client.connection import PushAddress, open_http

        address = PushAddress(self.target.url, self.target.token, self.target.socket, self.push.ca)
        return open_http(address, self.push.connections)

    def describe_progress(self, error: Exception | None = None) -> str:
        """Describe the progress, for the message of a push that ended early.

        Args:
            error: that ended it; None for the user.
        """
        from treadle.client.request_sender import PushRefusedError
        from treadle.record_files.record_block import RecordFileError

        done = f"{count_noun(self.progress.records, 'record')} "
        done += "was pushed" if self.progress.records == 1 else "were pushed"
        if isinstance(error, RecordFileError) or (
            isinstance(error, PushRefusedError) and error.place is not None
        ):
            return f"{done} before; correct the file and run the same command again"
        return f"{done}; the same command goes on from there" if self.resume_file else done

    def _record_acknowledged(self, batch: "RequestBatch", has: "AcknowledgedRequest") -> None:
        self._requests.append(has)
        self.progress = self.progress.advance(batch.end)
        if self.resume_file:
            self.resume_file.write(self.progress)
        self.display.advance(batch.end, batch.read)


def open_input(name: str) -> IO[bytes]:
    """Open a file or standard input, unbuffered: its readers read large chunks."""
    try:
        if name == STANDARD_INPUT:
            return open(0, "rb", buffering=0, closefd=False)
        return Path(name).open("rb", buffering=0)
    except OSError as error:
        raise OperatorError(f"The file {name} cannot be read: {error.strerror}.") from None


def _sum_sizes(files: Sequence[str]) -> int | None:
    """Return the size of the files in bytes; None for a pipe."""
    size = 0
    for name in files:
        with open_input(name) as stream:
            found = os.fstat(stream.fileno()).st_size
        if not found and name == STANDARD_INPUT:
            return None
        size += found
    return size or None


COMMAND = CliCommand(
    words=("push",),
    help="push the records of files into a table",
    run=run_push,
    arguments=_arguments,
    settings=("host", "port"),
    helps=ADDRESS_HELPS,
    push=True,
    intermixed=True,
)
