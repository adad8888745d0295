"""What three open tabs of the console cost the senders (console.md B.8, Speed).

    python -m benchmarks.tabs [--pairs N] [--requests N] [--seconds S] [--tabs N]

W7 at 64 connections and W8 are measured without and with tabs that follow the overview, in turns in
one run. With them W7 is to stay within 5 %, and the p99 of its requests within 1 ms. The exit code
is 1 when it does not. The tabs are read by a process of its own on this machine; browsers run on
others.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

import httpx
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import TreadleServer

from benchmarks.answers import w7, w8
from benchmarks.contender import Place
from benchmarks.hooked import POSTGRES, in_place

CONNECTIONS: Final = 64
WITHIN: Final = 0.95
"""What W7 with tabs is to reach, as a part of what it reaches without."""
WITHIN_MS: Final = 1.0
BROWSER: Final = {"Accept": "text/html", "Sec-Fetch-Site": "none"}


def follow(link: str, tabs: int) -> None:
    """Sign in with a link, and follow the overview in tabs until standard input ends.

    It prints a line when all tabs have got something, and at the end how many events came.
    """
    base = link.partition("/login")[0]
    events = [0] * tabs
    begun = threading.Semaphore(0)
    with httpx.Client(timeout=60, headers=BROWSER) as browser:
        browser.get(link)
        page = browser.get(f"{base}/start").text
        # A new account is led to its first rows until it leaves them.
        form = {"step": "leave", "csrf": read_attribute(page, 'name="csrf" value')}
        origin = {"Sec-Fetch-Site": "same-origin", "Origin": base.rpartition("/")[0]}
        browser.post(f"{base}/start", data=form, headers=origin)
        topics = read_attribute(browser.get(f"{base}/").text, "data-topics")

        def read(number: int) -> None:
            with browser.stream("GET", f"{base}/events?topics={topics}") as answer:
                for line in answer.iter_lines():
                    if line.startswith("event:"):
                        events[number] += 1
                        if events[number] == 1:
                            begun.release()

        for number in range(tabs):
            threading.Thread(target=read, args=(number,), daemon=True).start()
        for _ in range(tabs):
            begun.acquire()
        print(topics, flush=True)
        sys.stdin.read()
        print(sum(events), flush=True)
        os._exit(0)  # the streams go on


def read_attribute(page: str, name: str) -> str:
    """Return the value of an attribute of a page."""
    found = re.search(f'{name}="([^"]+)"', page)
    assert found, f"the page has no {name}"
    return found[1]


@contextmanager
def open_tabs(tabs: int) -> Iterator[tuple[Callable[[TreadleServer], None], list[int]]]:
    """What opens tabs of a server; at the end the list has how many events they got."""
    running: list[subprocess.Popen[str]] = []
    got: list[int] = []

    def start(server: TreadleServer) -> None:
        link = server.treadle("console").split()[0]
        command = [sys.executable, "-m", "benchmarks.tabs", "--follow", link, "--tabs", str(tabs)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), "the tabs got nothing"

    try:
        yield start, got
    finally:
        for process in running:
            told, _ = process.communicate()
            got += [int(word) for word in told.split()]


def measure(name: str, place: Place, asked: argparse.Namespace, *, tabs: int) -> dict[str, Any]:
    """W7 or W8 once."""
    with open_tabs(tabs) as (start, got):
        prepare = start if tabs else lambda _: None
        if name == "W7":
            found = w7(place, asked.requests, steps=(CONNECTIONS,), prepare=prepare)
            found = found[str(CONNECTIONS)]
        else:
            found = w8(place, asked.seconds, prepare=prepare)
    return found | {"events": sum(got)}


def compare(name: str, figures: tuple[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    """Measure without and with tabs in turns; figure -> median without and with."""
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with PostgresServer(settings=POSTGRES) as server:
        for pair in range(asked.pairs):
            for with_tabs in (False, True) if pair % 2 == 0 else (True, False):
                with in_place(server) as place:
                    one = measure(name, place, asked, tabs=asked.tabs if with_tabs else 0)
                os.sync()
                found[with_tabs].append(one)
                told = ", ".join(f"{figure} {one[figure]:,.3f}" for figure in figures)
                print(
                    f"{name} {'with' if with_tabs else 'without':7} {told}, {one['events']} events",
                    flush=True,
                )
    return {
        figure: tuple(median(one[figure] for one in found[key]) for key in (False, True))
        for figure in figures
    }


def main() -> int:
    """Run it as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tabs", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200_000, help="of W7")
    parser.add_argument("--seconds", type=float, default=15.0, help="of W8")
    parser.add_argument("--tabs", type=int, default=3)
    parser.add_argument("--follow", help="what it starts itself: the link to sign in with")
    asked = parser.parse_args()
    if asked.follow:
        follow(asked.follow, asked.tabs)
    rates = compare("W7", ("requests a second", "p99 ms"), asked)
    waits = compare("W8", ("p50 s", "p99 s"), asked)
    for name, (without, with_tabs) in {**rates, **waits}.items():
        print(f"{name}: {without:,.3f} without, {with_tabs:,.3f} with {asked.tabs} tabs")
    rate, late = rates["requests a second"], rates["p99 ms"]
    good = rate[1] >= rate[0] * WITHIN and late[1] - late[0] <= WITHIN_MS
    print(f"W7 is {'within' if good else 'NOT within'} 5 % and 1 ms")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
