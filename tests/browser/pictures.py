"""The pictures of the documents, made from a running server: `python -m tests.browser.pictures`.

They are made again with each change of the pages, so that they show the product as it is. It goes
the way of the tutorial in a browser and takes a picture of each page on the way.
"""

import argparse
import contextlib
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.browser.conftest import FLAGS, find_browser
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.traces.series_file import SeriesWriter
from treadle.traces.series_layout import SERVER_FIGURES, SeriesStep

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER: Final = Path(__file__).parents[2] / "docs" / "tutorial" / "pictures"
WIDTH: Final = 1080
CUSTOMERS: Final = [
    {"id": 1, "name": "Ann", "city": "Oslo"},
    {"id": 2, "name": "Bo", "city": "Lagos"},
    {"id": 3, "name": "Chidi", "city": "Lima"},
]


STEP_SECONDS: Final = 10
HOUR_STEPS: Final = 360


def make_steps(now: int) -> list[SeriesStep]:
    """Return made-up figures of the hour before a time; a destination was down for a while.

    A server that runs for a minute has no hour to show.
    """
    steps = []
    waiting = oldest = 0.0
    present = now // STEP_SECONDS * STEP_SECONDS
    for number in range(HOUR_STEPS):
        rate = 420 + 160 * math.sin(number / 41) + 40 * math.sin(number / 3)
        is_down = 150 <= number < 186
        backlog = waiting + rate * STEP_SECONDS
        loaded = 0.0 if is_down else min(backlog, 9_000.0)
        waiting = backlog - loaded
        oldest = oldest + STEP_SECONDS if is_down else max(0.0, oldest - 2 * STEP_SECONDS)
        figures: dict[str, float | None] = dict.fromkeys(SERVER_FIGURES, 0.0)
        figures |= {
            "accepted": rate * STEP_SECONDS,
            "loaded": loaded,
            "rejected": 3.0 if number % 60 == 0 else 0.0,
            "waiting": waiting,
            "freshness_p50_seconds": None if is_down else 0.6 + oldest / 2,
            "freshness_p99_seconds": None if is_down else 1.1 + oldest,
            "requests_2xx": rate / 2,
            "requests_4xx": 4.0 if number % 45 < 3 else 0.0,
            "log_bytes": 41e6 + 9e4 * number,
            "disk_free_bytes": 64e9,
        }
        at = present - (HOUR_STEPS - number) * STEP_SECONDS
        steps.append(SeriesStep(at, tuple(figures[name] for name in SERVER_FIGURES)))
    return steps


class PictureWalk:
    """A walk through the console that leaves pictures behind."""

    def __init__(self, server: TreadleServer, seen: WatchedPage, folder: Path) -> None:
        self.server = server
        self.seen = seen
        self.folder = folder

    def take(self, name: str, *, height: int = 760) -> None:
        """Take a picture of what is seen now."""
        page = self.seen.page
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=self.folder / f"{name}.png", animations="disabled")

    def go_first_rows(self) -> None:
        """From the link to the first row."""
        page = self.seen.page
        self.seen.open(self.server.treadle("console").split()[0])
        self.seen.press("Make the source")
        self.take("first-rows", height=980)
        self.seen.press("Send one for me")
        page.locator("#step-loaded table").wait_for(timeout=PATIENCE_MS)
        self.take("first-row", height=1300)
        self.seen.press("Go to the overview")

    def push_more(self) -> None:
        """Push what the pages are to show: a split column, a subtable, a rejected record."""
        server = self.server
        client = Client(server, *server.account())
        source, token = client.create_source("Shop")
        client.push(token, CUSTOMERS, table="customers", keys=["id"])
        eventually(lambda: "customers" in server.treadle("loads", "--json"))
        odd: list[dict[str, Any]] = [
            {"id": 5, "name": "Eli", "city": 5, "tags": ["new", "vip"]},
            {"id": 4, "name": "Dee", "visits": 10**40},
        ]
        client.push(token, odd, table="customers", keys=["id"])
        client.push(token, [{"id": 1, "total": "12.50"}], table="orders", keys=["id"])
        eventually(lambda: "orders" in server.treadle("loads", "--json"))
        self.source = source

    def look_around(self) -> None:
        """The pages that the tutorial names."""
        self.seen.open("/")
        page = self.seen.page
        page.locator("[data-number=rejected]", has_text="1").wait_for(timeout=PATIENCE_MS)
        page.locator("[data-number=freshness]", has_text="s").wait_for(timeout=PATIENCE_MS)
        page.locator(".plots path.series").first.wait_for(timeout=PATIENCE_MS)
        self.take("overview", height=900)
        self.take_plots()
        self.seen.open(f"/sources/{self.source}/tables/customers")
        self.take("table", height=900)
        self.seen.open("/rejects")
        self.take("rejected")
        self.seen.open(f"/sources/{self.source}/tokens")
        self.take("tokens", height=880)

    def take_plots(self) -> None:
        """Take a picture of the plots, with figures of an hour."""
        writer = SeriesWriter(self.server.data / "series")
        for step in make_steps(int(time.time())):
            writer.write(step)
        writer.close()
        self.seen.open("/?range=1h")
        plots = self.seen.page.locator(".plots")
        self.seen.page.wait_for_function(
            "() => document.querySelector('.plots path.series').getAttribute('d').length > 500",
            timeout=PATIENCE_MS,
        )
        plots.screenshot(path=self.folder / "plots.png", animations="disabled")


def make_pictures(browser: "Browser", folder: Path) -> None:
    """Make all pictures in a folder."""
    folder = folder.absolute()
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        # The folder that is meant where none is named: the commands on the pages are short.
        data = Path("treadle-data").absolute()
        with (
            TreadleServer(data, settings={"load_age_seconds": "0.2"}) as server,
            watch(browser, server.url, width=WIDTH) as seen,
        ):
            walk = PictureWalk(server, seen, folder)
            walk.go_first_rows()
            walk.push_more()
            walk.look_around()


def main() -> int:
    """Run it as a command."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    program = find_browser()
    if program is None:
        sys.stderr.write("There is no Chromium; on Debian `apt-get install chromium`.\n")
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        make_pictures(browser, folder)
        browser.close()
    for picture in sorted(folder.glob("*.png")):
        sys.stdout.write(f"{picture.name}: {picture.stat().st_size / 1024:.0f} KB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
