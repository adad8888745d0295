"""Builds the rooms from settings, starts and stops them. The only place that names back-ends.

`serve` is the supervisor: it takes the data directory, prepares the store, listens, and runs one
process per role (`treadle.supervise`). Each child is this module again, `python -m treadle.server
ROLE`: it reads its orders from standard input, and the end of that input means that the
supervisor is gone.
"""

import contextlib
import gc
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from treadle import __version__, crash
from treadle.board import Board, sums
from treadle.config import Config, without_password
from treadle.control.app import make_app as control_app
from treadle.control.settings import Settings
from treadle.destinations.registry import open_url
from treadle.errors import OperatorFault, TreadleError
from treadle.guide import guide
from treadle.ingest.app import Front, Ingest
from treadle.ingest.connection import Connection
from treadle.ingest.document import document as ingest_document
from treadle.ingest.express import STATE
from treadle.loader.due import Trigger
from treadle.loader.run import Loader
from treadle.lock import take
from treadle.log.carry import Carried, carry
from treadle.log.local import LocalAppender, LocalReader
from treadle.log.room import Room
from treadle.log.salvage import Known, mend
from treadle.logs import set_up_logging
from treadle.metrics.endpoint import Metrics
from treadle.metrics.requests import APPEND_FAILURES, NAMES, Counted, key
from treadle.openapi import merged
from treadle.store.model import Account
from treadle.store.secrets import load_key
from treadle.store.store import Store
from treadle.supervise import Job, Supervisor

logger = logging.getLogger("treadle.server")

COLLECTIONS = 10_000, 20, 20
"""When a worker looks for garbage in cycles, as `gc.set_threshold` takes it. Decoding a body makes
lists and dictionaries by the hundred thousand and no cycle, and at Python's own 700 the search took
a third of a Transit body's time. Much rarer would hold on to what a refusal leaves behind."""

KEEP_ALIVE_SECONDS = 75
"""Clients drop idle connections by themselves after 15 s or more, and do not retry a POST on one
that the server closed under them (import-api.md 4)."""
BACKLOG = 2048
"""Connections that may wait to be accepted."""
WORKER_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}
"""For glibc: the memory of a large body goes back to the system when the body is done with. Left to
itself it keeps what it was asked for once, in pieces that fit nothing else: eight bodies of 20 MB
at once took up to 437 MB instead of 371."""
LOADER_ENVIRONMENT = {
    "DUCKDB_JE_MALLOC_CONF": "dirty_decay_ms:200,muzzy_decay_ms:0",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
}
"""For DuckDB's allocator and glibc: what a load freed goes back to the system before the next one
takes as much. Left to themselves they keep some hundred megabytes after bodies of 20 MB; told to
keep nothing at all they cost a seventh of the speed. glibc also gives threads heaps of their own,
and with 10,000 tables what DuckDB knows of them lay in several: 533 MB, and 497 with two heaps."""
FIRST_ACCOUNT = "default"
CARRIED_AT_ONCE = 10_000
"""Requests with a key, of about 100 bytes each."""
CHILD = "treadle.server"
"""The module that a child runs: this one, or what a test puts around it."""


def microseconds() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


# --- the supervisor -------------------------------------------------------------------------------


def serve(config: Config) -> int:
    """Run the server until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        OperatorFault: the data directory, the port, the key file or a setting cannot be used.
    """
    set_up_logging(config)
    config.make_data()
    lock = take(config.lock_path)
    listening = _listen(config.host, config.port)
    port = listening.getsockname()[1]
    try:
        newcomer = prepare_store(config)
        mend_log(config)
        carry_requests(config)
        supervisor = Supervisor(
            _jobs(config, listening.fileno(), lock),
            lambda: _announce(config, port, newcomer),
        )
        return supervisor.run()
    finally:
        listening.close()
        os.close(lock)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        raise OperatorFault(
            f"Cannot listen at {host} port {port}: {error.strerror}; stop what listens there, or "
            "choose another address with --host and --port."
        ) from error
    return listening


@dataclass(frozen=True, slots=True)
class Newcomer:
    """The account that was made with a new store, and its token, which is not kept."""

    account: Account
    token: str


def prepare_store(config: Config) -> Newcomer | None:
    """Make the store where there is none; returns the first account when it was made now."""
    destination = open_url(config.destination_url)
    with contextlib.closing(open_store(config)) as store:
        newcomer = None
        if not store.accounts():
            account, token = store.create_account(FIRST_ACCOUNT)
            newcomer = Newcomer(account, token)
        defaults = {account.destination_id for account in store.accounts()}
        former = {_place(row.url) for row in store.destinations() if row.id in defaults}
        for place in sorted(former - {destination.identity}):
            logger.warning(
                "from now on rows go to %s and no longer to %s, where what was loaded stays; "
                "name the old place with --destination to go back",
                destination.identity,
                place,
            )
        for account in store.accounts():
            store.set_default_destination(
                account.id, destination.kind, config.destination_url, destination.identity
            )
        return newcomer


def _place(url: str) -> str:
    """Where a URL leads, without secrets, also when its driver is not installed any more."""
    try:
        return open_url(url).identity
    except OperatorFault:
        return without_password(url)


def mend_log(config: Config) -> None:
    """Replace a log that is damaged by what can be read of it; before anybody opens it."""
    known = known_of_log(config)
    path = config.log_path
    if known.log_id is not None and not (path.exists() and path.stat().st_size):
        logger.error(
            "the log %s is gone; what was accepted and not loaded is lost with it, unless you stop "
            "treadle and bring it back; a new one is begun",
            path,
        )
    salvaged = mend(path, known)
    if salvaged is not None:
        logger.error("%s", salvaged.sentence())


def known_of_log(config: Config) -> Known:
    """What the store remembers of the log."""
    with contextlib.closing(open_store(config)) as store:
        loaded = {(s.source_id, s.table_name): s.loaded for s in store.table_statuses()}
        return Known(store.log_id(), loaded)


def carry_requests(config: Config) -> None:
    """Move what an earlier treadle noted of requests with a key from the store into the log.

    A crash in the midst of it repeats it: they are in the log before they leave the store.
    """
    count = 0
    with contextlib.closing(open_store(config)) as store:
        while found := store.remembered(CARRIED_AT_ONCE):
            done = [
                Carried(one.name, one.digest, one.first, one.at)
                for one in found
                if one.first is not None
            ]
            carry(config.log_path, done)
            store.forget_up_to(found[-1].name)
            count += len(done)
    if count:
        logger.info("the log knows %d requests with a key that the store knew until now", count)


def open_store(config: Config) -> Store:
    """The store of these settings, migrated."""
    return Store.open(config.store_url, load_key(config.key_path, config.secret_key))


def _jobs(config: Config, listening: int, lock: int) -> list[Job]:
    orders = _orders(config)

    def job(name: str, role: str, inherit: tuple[int, ...], stops: int, waits_for: str) -> Job:
        arguments = ("-m", CHILD, role, name, *map(str, inherit))
        return Job(name, arguments, orders, (*inherit, lock), stops, waits_for)

    worker = job("", "worker", (listening,), 0, "requests it began to answer")
    workers = [
        replace(worker, name=f"worker {number}", environment=WORKER_ENVIRONMENT)
        for number in range(1, config.workers + 1)
    ]
    loader = job("loader", "loader", (), 1, "the load it is in")
    return [*workers, replace(loader, environment=LOADER_ENVIRONMENT)]


def _orders(config: Config) -> bytes:
    """Settings for a child, on one line; through a pipe, where other users cannot read them."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return msgspec.json.encode(values | {"data": str(config.data), "crash": crash.armed()})


def _obeyed(line: bytes) -> Config:
    values: dict[str, Any] = msgspec.json.decode(line)
    crash.arm(values.pop("crash"))
    return Config(**(values | {"data": Path(values["data"])}))


def _announce(config: Config, port: int, newcomer: Newcomer | None) -> None:
    """Say that the server is there; the first time also everything a newcomer needs."""
    url = config.url.removesuffix(f":{config.port}") + f":{port}"
    lines = [f"treadle listens at {url}"]
    if newcomer is not None:
        lines += [
            "",
            "This is a new data folder, so an account was made for you. Its token is shown once:",
            "",
            f"  client id      {newcomer.account.id}",
            f"  account token  {newcomer.token}",
            f"  rows go to     {open_url(config.destination_url).identity}",
            f"  API document   {url}/docs",
            "",
            f"The guide, to paste into another terminal in the folder {Path.cwd()}:",
            "",
            guide(url, newcomer.token, newcomer.account.id, _query_command(config)),
        ]
    # In one piece, which `print` does not promise: whoever reads it knows when it is complete.
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()


def _query_command(config: Config) -> str:
    """`treadle query`: by its name when the shell finds it, else by its path."""
    beside = Path(sys.executable).parent / "treadle"
    known = shutil.which("treadle") is not None or not beside.exists()
    command = ("treadle" if known else shlex.quote(_relative(beside))) + " query"
    if config.data != Path(Config.data).absolute():
        command += f" --data {shlex.quote(_relative(config.data))}"
    return command


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# --- the children ---------------------------------------------------------------------------------


def _worker(config: Config, name: str, descriptor: int) -> None:
    """Answer requests until asked to stop: the Import API and the control API on one socket."""
    store = open_store(config)
    with socket.socket(fileno=descriptor) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                worker_app(config, store, _ready_for_long, name),
                loop="uvloop",
                http=Connection,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=BACKLOG,
            )
        )

        def stop() -> None:
            server.should_exit = True

        _when_the_supervisor_is_gone(stop)
        server.run(sockets=[listening])
    store.close()


def worker_app(
    config: Config, store: Store, ready: Callable[[], None], name: str = "worker 1"
) -> ASGIApp:
    """Everything one worker answers; calls `ready` once it does.

    Args:
        config: of the server.
        store: opened.
        ready: called once.
        name: of this worker among the others.
    """
    # The listening socket is shared and its number says nothing: a worker is known by its name.
    board = Board(config.counters_path, name, NAMES)
    log = LocalAppender(
        config.log_path, room=room_of(config), failed=lambda: board.add(APPEND_FAILURES)
    )
    ingest = Ingest(
        store,
        log,
        open_reader=lambda: LocalReader(config.log_path),
        count=lambda path, status: board.add(key(path, status)),
    )
    control = control_app(
        store,
        Settings(config.surface, config.token_list),
        changed=ingest.directory.forget,
        open_reader=lambda: LocalReader(config.log_path),
    )
    metrics = Metrics(
        store,
        lambda: LocalReader(config.log_path),
        lambda: sums(config.counters_path, NAMES),
        token=config.metrics_token,
        host=config.host,
        version=__version__,
        clock=microseconds,
    )
    control.openapi_schema = merged("treadle", __version__, [ingest_document(), control.openapi()])

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        await ingest.start()
        ready()
        try:
            yield {STATE: ingest.express}
        finally:
            await log.aclose()
            await ingest.aclose()
            metrics.close()

    app = Starlette(
        routes=[*ingest.routes, Route("/metrics", metrics.get, methods=["GET"])], lifespan=lifespan
    )
    app.router.redirect_slashes = False
    app.router.default = control  # mounted it would miss paths with a line break
    return Counted(Front(ingest, app), board.add)


def room_of(config: Config) -> Room:
    """The bounds of the log."""
    return Room(config.log_bytes, config.disk_reserve_bytes)


def loader_of(config: Config, store: Store) -> Loader:
    """The loader of these settings."""
    return Loader(
        store=store,
        open_reader=lambda: LocalReader(config.log_path),
        open_destination=open_url,
        trigger=Trigger(
            age_us=int(config.load_age_seconds * 1_000_000),
            records=config.load_rows,
            size=config.load_bytes,
        ),
        retention_us=int(config.retention_days * 86_400_000_000),
        clock=microseconds,
        new_id=lambda: str(uuid.uuid4()),
        room=room_of(config),
        # Of loaders of one data folder only one can run: the folder is locked.
        place=f"{socket.gethostname()}:{config.data}",
    )


def _loader(config: Config) -> None:
    """Load what was accepted until asked to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    _when_the_supervisor_is_gone(stop.set)

    store = open_store(config)
    loader_of(config, store).run(stop, _say_ready)
    store.close()


def _ready_for_long() -> None:
    # What was made up to here, more than 100,000 objects, stays until the end. To look at it again
    # in collections took a seventh of a worker's time and kept requests waiting meanwhile.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    _say_ready()


def _say_ready() -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and the end is near
        os.write(sys.stdout.fileno(), b"ready\n")


def _read_orders() -> bytes:
    """The line with the orders, read without a buffer: a thread waits on the rest (see below)."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        if not piece:
            raise OperatorFault("this is a child of `treadle serve`; start that instead")
        line += piece
    return line


def _when_the_supervisor_is_gone(stop: Callable[[], None]) -> None:
    def watch() -> None:
        # Not through sys.stdin: its lock would be held while the interpreter ends.
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        logger.error("the supervisor is gone; stopping")
        stop()

    threading.Thread(target=watch, daemon=True).start()


def child() -> int:
    """Run the role named on the command line with the orders on standard input."""
    # Ctrl-C reaches every process of the terminal; the supervisor alone acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    role, name, *descriptors = sys.argv[1:]
    config = _obeyed(_read_orders())
    set_up_logging(config, role)
    try:
        if role == "worker":
            _worker(config, name, int(descriptors[0]))
        else:
            _loader(config)
    except TreadleError as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence for the operator, no traceback
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(child())
