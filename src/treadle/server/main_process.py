"""The process of `treadle serve`: prepares the data folder, listens, supervises its children."""

import os
import shlex
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.guide import write_guide
from treadle.logging_setup import set_up_logging
from treadle.server.child_channel import encode_orders
from treadle.server.factories import LISTEN_BACKLOG
from treadle.server.file_limit import raise_file_limit
from treadle.server.startup import FirstAccount, repair_log_at_start, set_up_store
from treadle.server.supervisor import ChildSpec, ProcessSupervisor
from treadle.text import escape_lines

WORKER_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}
"""For glibc: gives the memory of a large body back to the system when it is released. By default
glibc keeps it, in pieces that fit nothing else: eight bodies of 20 MB at once took up to 437 MB
instead of 371."""
LOADER_ENVIRONMENT = {
    "DUCKDB_JE_MALLOC_CONF": "dirty_decay_ms:200,muzzy_decay_ms:0",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
}
"""For DuckDB's allocator and glibc: give the memory of a load back to the system before the next
load needs as much. By default they keep some hundred megabytes after bodies of 20 MB. To keep
nothing at all costs a seventh of the speed. glibc also gives threads heaps of their own, and with
10,000 tables DuckDB's catalogue was spread over several: 533 MB, and 497 MB with two heaps."""
WORKER_STOP_SECONDS = 15.0
"""When a worker is killed that was asked to stop. It gives up by itself some seconds before, unless
a thread of it keeps the interpreter."""
LOADER_STOP_SECONDS = 120.0
"""When the loader is killed: it waits 100 seconds itself for a destination that hangs."""
CHILD_MODULE = "treadle.server"
"""The module that a child runs. A test may put another one here."""


def run_server(config: Config) -> int:
    """Run the server until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        OperatorError: the data folder, the port, the key file or a setting cannot be used.
    """
    set_up_logging(config)
    raise_file_limit()  # for the children, which inherit it
    config.make_data_folder()
    lock = take_lock(config.lock_path)
    listening = _open_listener(config.host, config.port)
    port = listening.getsockname()[1]
    try:
        newcomer = set_up_store(config)
        repair_log_at_start(config)
        supervisor = ProcessSupervisor(
            _list_child_specs(config, listening.fileno(), lock),
            lambda: _print_announcement(config, port, newcomer),
        )
        return supervisor.run()
    finally:
        listening.close()
        os.close(lock)


def _open_listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(LISTEN_BACKLOG)
    except OSError as error:
        raise OperatorError(
            f"Cannot listen at {host} port {port}: {error.strerror}; stop what listens there, or "
            "choose another address with --host and --port."
        ) from error
    return listening


def _list_child_specs(config: Config, listening: int, lock: int) -> list[ChildSpec]:
    orders = encode_orders(config)

    def job(
        name: str,
        role: str,
        inherit: tuple[int, ...],
        stops: int,
        waits_for: str,
        stop_seconds: float,
    ) -> ChildSpec:
        arguments = ("-m", CHILD_MODULE, role, name, *map(str, inherit))
        return ChildSpec(name, arguments, orders, (*inherit, lock), stops, waits_for, stop_seconds)

    worker = job("", "worker", (listening,), 0, "requests it began to answer", WORKER_STOP_SECONDS)
    workers = [
        replace(worker, name=f"worker {number}", environment=WORKER_ENVIRONMENT)
        for number in range(1, config.workers + 1)
    ]
    loader = job("loader", "loader", (), 1, "the load it is in", LOADER_STOP_SECONDS)
    return [*workers, replace(loader, environment=LOADER_ENVIRONMENT)]


def _print_announcement(config: Config, port: int, newcomer: FirstAccount | None) -> None:
    """Print the server's address and, for a new data folder, the first account and the guide."""
    url = config.url.removesuffix(f":{config.port}") + f":{port}"
    lines = [f"treadle listens at {url}"]
    if newcomer is not None:
        lines += [
            "",
            "This is a new data folder, so an account was made for you. Its token is shown once:",
            "",
            f"  client id      {newcomer.account.id}",
            f"  account token  {newcomer.token}",
            f"  rows go to     {make_destination(config.destination_url).identity}",
            *([f"  API document   {url}/docs"] if config.docs_page == "on" else []),
            "",
            f"The guide, to paste into another terminal in the folder {Path.cwd()}:",
            "",
            write_guide(url, newcomer.token, newcomer.account.id, _spell_query_command(config)),
        ]
    # In one write, which `print` does not promise, so that a program that reads it gets all of it.
    sys.stdout.write(escape_lines("\n".join([*lines, ""])))
    sys.stdout.flush()


def _spell_query_command(config: Config) -> str:
    """Return `treadle query` as it can be typed: by its path where the shell does not find it."""
    beside = Path(sys.executable).parent / "treadle"
    known = shutil.which("treadle") is not None or not beside.exists()
    command = ("treadle" if known else shlex.quote(_shorten_path(beside))) + " query"
    if config.data != Path(Config.data).absolute():
        command += f" --data {shlex.quote(_shorten_path(config.data))}"
    return command


def _shorten_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
