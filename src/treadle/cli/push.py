"""`treadle push`: pushes the records of a file into a table through the Import API."""

import argparse
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

from treadle.cli.command import Arguments, CliCommand, collect_flags, print_warning
from treadle.cli.connection_fault import make_trust
from treadle.cli.folder_server import ADDRESS_HELPS, FoundServer, find_folder_server, require_server
from treadle.cli.output import print_error, print_line
from treadle.cli.progress_bar import ProgressDisplay, SilentDisplay, show_progress
from treadle.cli.record_file import read_records
from treadle.cli.request_batch import PushTemplate, RequestBatch, make_batches
from treadle.cli.resume_file import PushProgress, ResumeFile
from treadle.cli.store_access import find_source, open_existing_store
from treadle.config import PUSH_SETTINGS, Config, PushConfig, is_loopback, mask_password
from treadle.errors import OperatorError, RetriableError
from treadle.store.model import Source
from treadle.text import digest_text

if TYPE_CHECKING:
    import httpx

    from treadle.cli.receipt_follower import AcknowledgedRequest, PushOutcome
    from treadle.cli.request_retry import RequestRetry

FIELDS_SHOWN: Final = 20
"""Fields that were left out, or rounded, of which `--wait` tells."""

PUSHED_NOTE = "all records were pushed, and become rows without waiting for them"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="newline-delimited JSON or a JSON array of objects; - is standard input",
    )
    parser.add_argument("--table", required=True, metavar="NAME", help="table to push to")
    parser.add_argument(
        "--key",
        required=True,
        action="append",
        metavar="FIELD",
        help="key field; repeat it for a key of several fields",
    )
    parser.add_argument(
        "--sequence-field",
        metavar="FIELD",
        help="field with the sequence, a whole number (default: made from the time, "
        "so that later records and later pushes win)",
    )
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


def run_push(config: Config, arguments: Arguments) -> int:
    """Push a file."""
    push = PushConfig.read(collect_flags(arguments, PUSH_SETTINGS), warn=print_warning)
    target = find_target(config, push)
    form = PushTemplate(target.client_id, arguments.table, tuple(arguments.key))
    with open_input(arguments.file) as stream:
        if push.url is None:
            require_server(config, FoundServer(target.url, target.socket))
        bookmark = None
        if arguments.file != "-" and not arguments.no_resume:
            bookmark = ResumeFile(
                config.push_path,
                Path(arguments.file),
                target.url,
                target.identity,
                form.table,
                *form.keys,
                f"sequence={arguments.sequence_field}",
            )
        earlier = bookmark.read() if bookmark else None
        # Nanoseconds, as 19 digits. A billion records take no more than a second of them, so that a
        # later push begins with a higher sequence.
        import asyncio  # here and below, because most commands do not need it

        progress = earlier or PushProgress(base=time.time_ns(), records=0)
        begun = time.monotonic()
        with show_progress(_read_size(stream), progress.records) as shown:
            job = PushJob(form, target, push, arguments.sequence_field, bookmark, shown, progress)
            try:
                asyncio.run(job.run(stream))
            except KeyboardInterrupt:
                print_error(f"Stopped; {job.describe_progress()}.")
                return 130
            except (OperatorError, RetriableError) as error:
                raise type(error)(
                    f"{str(error).rstrip('.')}; {job.describe_progress()}."
                ) from error
        seconds = time.monotonic() - begun
    if bookmark:
        bookmark.remove()
    sent = job.progress.records - progress.records
    rate = f"{sent / seconds:,.0f} records/s" if seconds else "at once"
    before = f", after {progress.records:,} of an earlier run" if earlier else ""
    print_line(
        f"Pushed {sent:,} records to {form.table} in {seconds:.1f} s ({rate}){before}.", flush=True
    )
    return print_outcome(job, begun) if arguments.wait else 0


def print_outcome(job: "PushJob", begun: float) -> int:
    """Wait until the pushed records are loaded, and print what became of them."""
    import asyncio

    try:
        fate = asyncio.run(job.wait_until_loaded())
    except KeyboardInterrupt:
        print_error(f"Stopped; {PUSHED_NOTE}.")
        return 130
    except (OperatorError, RetriableError) as error:
        raise type(error)(f"{str(error).rstrip('.')}; {PUSHED_NOTE}.") from error
    print_line(
        f"After {time.monotonic() - begun:.1f} s: {fate.loaded:,} loaded, "
        f"{fate.superseded:,} superseded, {fate.rejected:,} rejected."
    )
    for (field_name, reason), records in islice(fate.left_out.items(), FIELDS_SHOWN):
        print_error(f"Field {field_name} is left out of {records:,} records: {reason}.")
    for field_name, values in islice(fate.rounded.items(), FIELDS_SHOWN):
        print_error(f"Field {field_name}: {values:,} values were rounded.")
    if not fate.rejected:
        return 0
    print_error(f"Rejected, the first because: {fate.reason}. `treadle rejects list` shows all.")
    if fate.trouble is not None:
        print_error(f"{fate.trouble[0].upper()}{fate.trouble[1:]}.")
    return 1


# Where to ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class PushTarget:
    """The server and the source that records are pushed to.

    Attributes:
        identity: of the source, without its token; for the name of the resume file.
        socket: the UNIX socket to connect to; None to connect to the host of the URL.
    """

    url: str
    token: str
    client_id: int
    identity: str
    socket: Path | None = None


def find_target(config: Config, push: PushConfig) -> PushTarget:
    """Return the target. What no flag gives comes from the store in the data folder.

    Raises:
        OperatorError: something is still missing; the text names the command or flag that gives it.
    """
    server = FoundServer(push.url) if push.url is not None else find_folder_server(config)
    url, socket = server.url.rstrip("/"), server.socket
    if push.token is not None:
        identity = digest_text(push.token).hex()
        return PushTarget(url, push.token, _find_client_id(config, push), identity, socket)
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
    return PushTarget(url, kept[-1].secret, client_id, f"source {source.id}", socket)


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


def _find_client_id(config: Config, push: PushConfig) -> int:
    """Return the client that a token belongs to."""
    if push.client_id is not None:
        return push.client_id
    if push.token is not None and config.has_store():
        with open_existing_store(config) as store:
            pusher = store.tokens.find_owner(digest_text(push.token))
        if pusher is not None:
            return pusher.account_id
    raise OperatorError("Say with --client-id which client the token belongs to.")


# The work ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class PushJob:
    """One run of a push.

    Attributes:
        progress: how many records the server has acknowledged.
    """

    form: PushTemplate
    target: PushTarget
    push: PushConfig
    sequence_field: str | None
    resume_file: ResumeFile | None
    display: ProgressDisplay
    progress: PushProgress
    _requests: "list[AcknowledgedRequest]" = field(default_factory=list)

    async def run(self, stream: IO[bytes]) -> None:
        """Push every record that an earlier run did not push."""
        from treadle.cli.push_sender import PushSender

        start = self.progress.records
        found = make_batches(
            read_records(stream, start),
            self.form.keys,
            self.sequence_field,
            self.progress.base,
            start,
            self.push.batch_records,
        )
        async with self._open_client() as client:
            sender = PushSender(client, self.form, self._make_retry(self.display))
            await sender.send_all(
                read_ahead(found, self.push.connections),
                self.push.connections,
                self._record_acknowledged,
            )

    async def wait_until_loaded(self) -> "PushOutcome":
        """Wait until every pushed record is loaded, as `ReceiptFollower` does."""
        from treadle.cli.receipt_follower import ReceiptFollower

        async with self._open_client() as client:
            return await ReceiptFollower(
                client, self._make_retry(SilentDisplay())
            ).wait_until_loaded(self._requests)

    def _make_retry(self, told: ProgressDisplay) -> "RequestRetry":
        from treadle.cli.request_retry import RequestRetry

        url = mask_password(self.target.url)
        return RequestRetry(url, self.push.retry_seconds, told.show_waiting)

    def _open_client(self) -> "httpx.AsyncClient":
        # Imported here: it takes a tenth of a second, which other commands need not spend.
        import httpx

        from treadle.cli.push_sender import TIMEOUT

        # A proxy of the environment is for other machines, not for this one.
        proxied = not is_loopback(urlsplit(self.target.url).hostname or "")
        try:
            base_url = httpx.URL(self.target.url)
        except httpx.InvalidURL as error:
            raise OperatorError(f"--url is not a URL: {error}") from error
        trust = make_trust(self.push.ca) or True
        limits = httpx.Limits(max_connections=self.push.connections)
        transport = None
        if self.target.socket is not None:
            transport = httpx.AsyncHTTPTransport(
                uds=str(self.target.socket), limits=limits, verify=trust
            )
        return httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            headers={
                "Authorization": f"Bearer {self.target.token}",
                "Content-Type": "application/json",
            },
            timeout=TIMEOUT,
            trust_env=proxied,
            verify=trust,
            limits=limits,
        )

    def describe_progress(self) -> str:
        """Describe the progress, for the message of a push that ended early."""
        done = f"{self.progress.records:,} records were pushed"
        return f"{done}; the same command goes on from there" if self.resume_file else done

    def _record_acknowledged(self, batch: RequestBatch, has: "AcknowledgedRequest") -> None:
        self._requests.append(has)
        self.progress = PushProgress(self.progress.base, batch.end)
        if self.resume_file:
            self.resume_file.write(self.progress)
        self.display.advance(batch.end, batch.pieces[-1].read)


async def read_ahead(found: Iterator[RequestBatch], ahead: int) -> AsyncIterator[RequestBatch]:
    """Yield batches that a thread reads, at most `ahead` of them before they are needed.

    Reading standard input may block for any time. The event loop goes on meanwhile, and the thread
    is a daemon, so that it does not keep the process from ending.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[RequestBatch | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(ahead)

    def hand_over(item: RequestBatch | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the item
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            for batch in found:
                room.acquire()
                hand_over(batch)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            hand_over(error)
        else:
            hand_over(None)

    threading.Thread(target=read, daemon=True, name="read").start()
    while (item := await queue.get()) is not None:
        if isinstance(item, OSError):
            raise OperatorError(f"The file cannot be read any further: {item.strerror}.") from item
        if isinstance(item, Exception):
            raise item
        room.release()
        yield item


def open_input(name: str) -> IO[bytes]:
    """Open the file or standard input, unbuffered: `read_records` reads large chunks."""
    try:
        if name == "-":
            return open(0, "rb", buffering=0, closefd=False)
        return Path(name).open("rb", buffering=0)
    except OSError as error:
        raise OperatorError(f"The file {name} cannot be read: {error.strerror}.") from None


def _read_size(stream: IO[bytes]) -> int | None:
    """Return the size of the file in bytes; None for a pipe."""
    status = os.fstat(stream.fileno())
    return status.st_size or None


COMMAND = CliCommand(
    words=("push",),
    help="push the records of a file into a table",
    run=run_push,
    arguments=_arguments,
    settings=("host", "port"),
    helps=ADDRESS_HELPS,
    push=True,
)
