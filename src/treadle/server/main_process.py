"""The process of `treadle serve`: prepares the data folder, listens, supervises its children."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from treadle.certificate import load_certificate
from treadle.config import Config, OperatorWarning
from treadle.config.roles import MemberRole
from treadle.data_lock import take_lock
from treadle.folder_move import refuse_moved_folder
from treadle.logging_setup import reopen_log_file, set_up_logging
from treadle.server.child_channel import encode_orders
from treadle.server.cluster_rules import require_cluster_settings
from treadle.server.file_limit import raise_file_limit
from treadle.server.held_locks import list_stopped_holders
from treadle.server.listener import ServerListener, open_listener
from treadle.server.loader_names import name_loader
from treadle.server.own_files import require_other_file
from treadle.server.startup_process import StartupProcess, StartupWork
from treadle.server.supervisor import ChildSpec, ProcessSupervisor
from treadle.server_address import remove_address

logger = logging.getLogger("treadle.server")

WORKER_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024),
    "PYTHONNODEBUGRANGES": "1",
}
"""For glibc: gives the memory of a large body back to the system when it is released. By default
glibc keeps it, in pieces that fit nothing else: eight bodies of 20 MB at once took up to 437 MB
instead of 371. And it asks the system for large pages, of which a body of 20 MB needs ten instead
of 5,000: copying it, which keeps all other threads waiting, takes 2 ms instead of 8. Other C
libraries, and glibc before 2.35, know nothing of this, and a system without large pages ignores
it. Python is told to leave the columns out of what it keeps to show the lines of a fault: 1.5 MB,
half of them of the console."""
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
    if config.log_file is not None:
        require_other_file("log_file", config.log_file, config.data)
    # Until the supervisor has a handler: by default SIGHUP ends a process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    set_up_logging(config)
    raise_file_limit()  # for the children, which inherit it
    found = list(warnings)
    config.check_data_folder(found.append)
    for warning in found:
        logger.warning("%s", warning)
    require_cluster_settings(config)
    if config.tls_cert is not None or config.tls_key is not None:
        load_certificate(config.tls_cert, config.tls_key)  # the workers read it again
    config.make_data_folder()
    if config.store is None:
        refuse_moved_folder(config.move_path)
    lock = take_lock(config.lock_path)
    try:
        listener = open_listener(config)
        try:
            startup = StartupProcess(partial(_make_startup, config, listener))
            try:
                startup.wait_until_prepared()
                supervisor = ProcessSupervisor(
                    list_child_specs(config, listener.socket.fileno(), lock),
                    startup.announce,
                    # Who starts another server now waits for the end of this one.
                    on_stop=lambda: remove_address(config.lock_path),
                    on_reload=reopen_log_file,
                    drain_seconds=config.drain_pause,
                    list_holders=partial(
                        list_stopped_holders,
                        (config.store_path, config.log_path),
                        config.turns_path,
                    ),
                )
                gc.freeze()
                gc.enable()
                return supervisor.run()
            finally:
                startup.end()
        finally:
            remove_address(config.lock_path)
            listener.close()
    finally:
        os.close(lock)


def _make_startup(config: Config, listener: ServerListener) -> StartupWork:
    from treadle.server.startup_work import ServerStartup  # it imports the store

    return ServerStartup(config, listener, to_person=sys.stdout.isatty())


def list_child_specs(config: Config, listening: int, lock: int) -> list[ChildSpec]:
    """Return the processes that the roles of this server need."""
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
        return ChildSpec(
            name,
            arguments,
            orders,
            (*inherit, lock),
            stops,
            waits_for,
            stop_seconds,
            reloads=config.log_file is not None,
        )

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
            reloads=config.tls_cert is not None or config.log_file is not None,
            drains=True,
        )
        for number in range(1, count_workers(config) + 1)
    ]
    desk = job("desk", "desk", (), 0, "the end of its checks", DESK_STOP_SECONDS)
    loaders = [
        replace(
            job(
                name_loader(number),
                "loader",
                (),
                1,
                "the load it is in",
                LOADER_STOP_SECONDS,
            ),
            environment=LOADER_ENVIRONMENT,
        )
        for number in range(1, config.loaders + 1)
    ]
    courier = job("courier", "courier", (), 1, "answers of hooks", COURIER_STOP_SECONDS)
    specs = workers
    if MemberRole.CONTROL in config.roles:
        specs.append(replace(desk, rests=True))
    if MemberRole.LOADER in config.roles:
        specs += loaders
    if MemberRole.CONTROL in config.roles:
        # With a mail server it looks for problems all the time, and in a cluster for errands.
        rests = config.smtp_url is None and not config.in_cluster
        specs.append(replace(courier, rests=rests))
    return specs


def count_workers(config: Config) -> int:
    """Return how many processes answer requests: one where it is asked how it is, and no more."""
    return 1 if config.roles == {MemberRole.LOADER} else config.workers
