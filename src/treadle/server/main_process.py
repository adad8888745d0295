"""The process of `treadle serve`: prepares the data folder, listens, supervises its children."""

import contextlib
import gc
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from treadle.certificate import load_certificate, read_certificate
from treadle.config import Config, OperatorWarning, format_host
from treadle.console_link import make_console_link
from treadle.data_lock import take_lock
from treadle.destinations.registry import make_destination
from treadle.errors import TreadleError
from treadle.guide import write_guide, write_socket_call
from treadle.logging_setup import set_up_logging
from treadle.server.child_channel import encode_orders
from treadle.server.factories import open_store
from treadle.server.file_limit import raise_file_limit
from treadle.server.listener import ServerListener, open_listener
from treadle.server.startup import (
    FirstAccount,
    find_risks,
    repair_log_at_start,
    set_up_store,
)
from treadle.server.supervisor import ChildSpec, ProcessSupervisor
from treadle.server_address import ServerAddress, remove_address, write_address
from treadle.store.model import ConsoleRole
from treadle.text import escape_lines

logger = logging.getLogger("treadle.server")

WORKER_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024),
}
"""For glibc: gives the memory of a large body back to the system when it is released. By default
glibc keeps it, in pieces that fit nothing else: eight bodies of 20 MB at once took up to 437 MB
instead of 371. And it asks the system for large pages, of which a body of 20 MB needs ten instead
of 5,000: copying it, which keeps all other threads waiting, takes 2 ms instead of 8. Other C
libraries, and glibc before 2.35, know nothing of this, and a system without large pages ignores
it."""
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
"""Seconds until a worker that was asked to stop is killed. It ends itself some seconds before,
unless one of its threads keeps the interpreter lock."""
LOADER_STOP_SECONDS = 120.0
"""Seconds until the loader is killed. It waits 100 seconds itself for a destination that hangs."""
COURIER_STOP_SECONDS = 15.0
"""Seconds until the courier is killed. It waits 5 seconds itself for answers of others."""
DESK_STOP_SECONDS = 10.0
"""Seconds until the desk is killed. It ends what it has under way at once."""
CHILD_MODULE = "treadle.server"
"""The module that a child runs. A test may put another one here."""


def run_server(config: Config, warnings: Sequence[OperatorWarning] = ()) -> int:
    """Run the server until SIGTERM or SIGINT.

    Args:
        config: the settings.
        warnings: found while they were read, to be logged.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        OperatorError: the data folder, the address, the certificate, the key file or a setting
            cannot be used.
    """
    set_up_logging(config)
    raise_file_limit()  # for the children, which inherit it
    found = list(warnings)
    config.check_data_folder(found.append)
    found += find_risks(config, os.geteuid())
    for warning in found:
        logger.warning("%s", warning)
    if config.tls_cert is not None or config.tls_key is not None:
        load_certificate(config.tls_cert, config.tls_key)  # the workers read it again
    config.make_data_folder()
    lock = take_lock(config.lock_path)
    try:
        listener = open_listener(config)
        try:
            newcomer = set_up_store(config)
            repair_log_at_start(config)
            supervisor = ProcessSupervisor(
                _list_child_specs(config, listener.socket.fileno(), lock),
                lambda: _print_announcement(config, listener, newcomer, sys.stdout.isatty()),
                # Who starts another server now waits for the end of this one.
                lambda: remove_address(config.lock_path),
            )
            _note_address(config, listener)
            gc.freeze()
            gc.enable()
            return supervisor.run()
        finally:
            remove_address(config.lock_path)
            listener.close()
    finally:
        os.close(lock)


def _note_address(config: Config, listener: ServerListener) -> None:
    """Note for commands where the server listens."""
    path = config.socket_path
    address = ServerAddress(
        os.getpid(), _choose_guide_url(config, listener), None if path is None else str(path)
    )
    try:
        write_address(config.lock_path, address)
    except OSError as error:  # a server starts on a full disk, too
        logger.warning(
            "commands have to be told this server's address with --url or --port: it cannot be "
            "noted in %s: %s",
            config.data,
            error.strerror,
        )


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

    workers = [
        replace(
            job(
                f"worker {number}",
                "worker",
                (listening,),
                0,
                "requests it began to answer",
                WORKER_STOP_SECONDS,
            ),
            environment=WORKER_ENVIRONMENT,
            reloads=config.tls_cert is not None,
        )
        for number in range(1, config.workers + 1)
    ]
    desk = job("desk", "desk", (), 0, "the end of its checks", DESK_STOP_SECONDS)
    loader = job("loader", "loader", (), 1, "the load it is in", LOADER_STOP_SECONDS)
    courier = job("courier", "courier", (), 1, "answers of hooks", COURIER_STOP_SECONDS)
    loader = replace(loader, environment=LOADER_ENVIRONMENT)
    return [
        *workers,
        replace(desk, awaited=False, rests=True),
        loader,
        # With a mail server it looks for problems all the time.
        replace(courier, rests=config.smtp_url is None),
    ]


def _print_announcement(
    config: Config, listener: ServerListener, newcomer: FirstAccount | None, to_person: bool
) -> None:
    """Print the server's address and, for a new data folder, the first account and the guide.

    On a terminal the link to the console is first. It is printed nowhere else: what signs in stays
    out of journals and of the logs of containers.
    """
    lines = [f"treadle listens at {listener.address}"]
    if to_person and config.console == "on":
        lines = [*_list_console_lines(config, listener), "", *lines]
    if newcomer is not None:
        url = _choose_guide_url(config, listener)
        path = config.socket_path
        lines += [
            "",
            "This is a new data folder, so an account was made for you. Its token is in a file",
            "that only you can read; keep it where you keep passwords, and remove the file then:",
            "",
            f"  client id      {newcomer.account.id}",
            f"  account token  in the file {newcomer.token_path}",
            f"  rows go to     {make_destination(config.destination_url).identity}",
            *([f"  API document   {url}/docs"] if config.docs_page == "on" else []),
            "",
            f"The guide, to paste into another terminal in the folder {Path.cwd()}:",
            "",
            *([] if path is None else [write_socket_call(path)]),
            write_guide(
                url,
                f"$(cat {shlex.quote(_shorten_path(newcomer.token_path))})",
                newcomer.account.id,
                _spell_command(config, "query"),
            ),
        ]
    # In one write, which `print` does not promise, so that a program that reads it gets all of it.
    sys.stdout.write(escape_lines("\n".join([*lines, ""])))
    sys.stdout.flush()


def _list_console_lines(config: Config, listener: ServerListener) -> list[str]:
    """Return how a person opens the console."""
    called = _spell_command(config, "console")
    with contextlib.closing(open_store(config)) as store:
        accounts = store.accounts.list_accounts()
        if len(accounts) != 1:
            return [f"The console: `{called} --account ID` prints a link to it."]
        try:
            token = store.sessions.issue_link_token(accounts[0].id, ConsoleRole.ADMIN)
        except TreadleError:
            return [f"The console: `{called}` prints a link to it."]
    url = config.public_url or _choose_guide_url(config, listener)
    return [
        "Open the console in a browser. The link signs in once, within an hour;",
        f"`{called}` prints another one:",
        "",
        f"  {make_console_link(url, config.console_path, token)}",
    ]


def _choose_guide_url(config: Config, listener: ServerListener) -> str:
    """Return a URL of the server that a client can verify, as far as the settings tell one."""
    if config.tls_cert is None or config.socket_path is not None:
        return listener.url
    names = read_certificate(config.tls_cert).names
    hosts = [name for name in names if not set("*=") & set(name)]
    if config.host in names or not hosts:
        return listener.url
    return f"https://{format_host(hosts[0])}:{listener.socket.getsockname()[1]}"


def _spell_command(config: Config, word: str) -> str:
    """Return a command as it can be typed: by its path where the shell does not find it."""
    beside = Path(sys.executable).parent / "treadle"
    known = shutil.which("treadle") is not None or not beside.exists()
    command = ("treadle" if known else shlex.quote(_shorten_path(beside))) + f" {word}"
    if config.data != Path(Config.data).absolute():
        command += f" --data {shlex.quote(_shorten_path(config.data))}"
    return command


def _shorten_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
