"""A task process: `python -m treadle.tasks.task_child LIFELINE MEMORY`.

A worker starts it, or the desk. It takes requests from its standard input, a socket, one after the
other, and answers on it. It ends by itself when its starter is gone, even in the middle of foreign
code: a signal of the kernel, which no Python code has to notice, ends it when the other end of the
lifeline closes.
"""

import fcntl
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from treadle.errors import InternalError, TreadleError
from treadle.tasks.task_channel import (
    AnswerKind,
    ChannelClosedError,
    TaskAnswer,
    TaskRequest,
    encode_error,
    receive_request,
    send_answer,
)

_GC_THRESHOLDS = 50_000, 20, 50
"""Thresholds of the garbage collector, above the defaults: a task makes many objects, few in
cycles, so frequent searches would find little."""

_NICENESS = 5
"""Processes that answer requests come first where there are too few cores."""

_MEMORY_FILE = Path("/proc/self/statm")


def run_child() -> None:
    """Do what is asked until the worker is gone."""
    lifeline, memory_bytes = map(int, sys.argv[1:])
    # A signal to the process group is for the worker, which ends this process after its task.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _watch_lifeline(lifeline)
    _limit_resources(memory_bytes)
    gc.set_threshold(*_GC_THRESHOLDS)
    os.nice(_NICENESS)
    channel = socket.socket(fileno=sys.stdin.fileno())
    source = channel.makefile("rb")
    try:
        while True:
            send_answer(channel.sendall, answer_request(receive_request(source)))
    except (ChannelClosedError, OSError):
        return


def answer_request(request: TaskRequest) -> TaskAnswer:
    """Call the function of a request, within its processor time; return the answer."""
    _limit_processor_time(request.seconds)
    try:
        kind, payload = AnswerKind.RESULT, _find_function(request.function)(request.payload)
    except TreadleError as error:
        kind, payload = encode_error(error)
    except MemoryError:
        kind, payload = AnswerKind.OUT_OF_MEMORY, b""
    except Exception:  # noqa: BLE001 - the worker is told, whatever it is
        kind, payload = encode_error(InternalError(traceback.format_exc()))
    return TaskAnswer(kind, _measure_memory(), payload)


def _measure_memory() -> int:
    """Return the bytes that this process holds or has reserved; 0 where the system does not say."""
    # Not ru_maxrss: a new process begins with the value of the process that started it.
    if not _MEMORY_FILE.exists():
        return 0
    pages = list(map(int, _MEMORY_FILE.read_bytes().split()))
    # The limit counts data that is reserved, and an allocator keeps reserved what it gave back: a
    # process may hold little and yet have nothing left for its next task.
    resident, data = pages[1], pages[5]
    return max(resident, data) * resource.getpagesize()


def _find_function(name: str) -> Callable[[bytes], bytes]:
    module, _, function = name.partition(":")
    found: Callable[[bytes], bytes] = getattr(importlib.import_module(module), function)
    return found


def _watch_lifeline(descriptor: int) -> None:
    """Let the kernel end this process when the other end of a pipe closes."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([descriptor], [], [], 0)[0]:  # it closed before the signal was asked for
        sys.exit()


def _limit_resources(memory_bytes: int) -> None:
    # Not the address space, of which allocators reserve much that they never use.
    _lower_limit(resource.RLIMIT_DATA, memory_bytes)
    _lower_limit(resource.RLIMIT_CORE, 0)


def _limit_processor_time(seconds: int) -> None:
    """Let the kernel end this process when it has used so many more seconds, and up to one more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    _lower_limit(resource.RLIMIT_CPU, used + seconds)


def _lower_limit(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    wanted = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (wanted, most))


if __name__ == "__main__":
    run_child()
