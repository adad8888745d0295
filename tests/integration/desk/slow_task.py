"""Functions for task processes that do not end, or end badly."""

import os
import signal
import time


def sleep(payload: bytes) -> bytes:
    """Sleep longer than any check may take."""
    time.sleep(600)
    return payload


def die(payload: bytes) -> bytes:
    """Be killed, as by a system that needs memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return payload


def fill(payload: bytes) -> bytes:
    """Take all memory there is."""
    kept = [payload]
    while True:
        kept.append(bytes(1 << 24))
