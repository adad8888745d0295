"""Chromium, and a treadle server for each module."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.treadle import Client, TreadleServer

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

PROGRAMS = ("chromium", "chromium-headless-shell")
"""The first that is there is taken. The shell draws the same pages, without windows around them."""


def find_browser() -> str | None:
    """Return the path of Chromium; None where it is not installed."""
    return next((path for name in PROGRAMS if (path := shutil.which(name)) is not None), None)


def _without(reason: str) -> None:
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium of the system."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without("playwright is not installed; `make browser-test` installs it")
    program = find_browser()
    if program is None:
        _without("there is no Chromium; on Debian `apt-get install chromium`")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    """A server on an empty data folder, whose Connect API shows a token once."""
    folder: Path = tmp_path_factory.mktemp("server")
    settings = {"connect_api_era": "modern", "load_age_seconds": "0.2"}
    with TreadleServer(folder / "data", settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TreadleServer) -> Client:
    """The account that was made at the first start."""
    return Client(server, *server.account())
