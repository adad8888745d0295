"""A page in Chromium that is watched: what must never happen fails its test (console.md B.12)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Response

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
"""Of those, the ones that look at colours; a page in dark differs in nothing else."""

FIND_VIOLATIONS = """
(chosen) => axe
  .run({ runOnly: chosen, resultTypes: ["violations"] })
  .then((found) => found.violations)
"""
"""What is well made is not described: that is a hundred times as much, and nobody reads it."""

SCRIPTS_DAILY = pytest.mark.parametrize(
    "scripts",
    [
        pytest.param(True, id="with-scripts"),
        pytest.param(False, id="without-scripts", marks=pytest.mark.release),
    ],
)
"""A page whose forms are those of pages that are tested without scripts with each change."""

PATIENCE_MS = 60_000
"""A test that passes does not wait, and a busy machine is slow."""


@dataclass
class WatchedPage:
    """A page, and what was seen of it that must not be.

    Attributes:
        allowed: a pattern of messages of the browser that a test expects.
    """

    page: "Page"
    base: str
    found: list[str] = field(default_factory=list)
    allowed: str = r"(?!)"

    def __post_init__(self) -> None:
        host = urlsplit(self.base).netloc
        self.page.set_default_timeout(PATIENCE_MS)

        def note_request(request: Any) -> None:
            parts = urlsplit(request.url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
                self.found.append(f"a request to another host: {request.url}")

        def note_message(message: Any) -> None:
            if message.type in ("error", "warning") and not re.search(self.allowed, message.text):
                self.found.append(f"the browser says: {message.text}")

        self.page.on("request", note_request)
        self.page.on("console", note_message)
        self.page.on("pageerror", lambda error: self.found.append(f"a script failed: {error}"))

    def open(self, path: str = "/") -> "Response":
        """Open a page of the console, or a whole URL."""
        url = path if path.startswith("http") else f"{self.base}/console{path}"
        response = self.page.goto(url)
        assert response is not None
        return response

    def examine(self) -> None:
        """Check the page with axe in light and in dark, and that it needs no sideways scroll."""
        from axe_playwright_python.base import AXE_SCRIPT

        self.page.evaluate(AXE_SCRIPT)  # once for both
        chosen: dict[Literal["light", "dark"], dict[str, Any]] = {
            "light": {"type": "tag", "values": RULES},
            "dark": {"type": "rule", "values": COLOUR_RULES},
        }
        for scheme in chosen:
            self.page.emulate_media(color_scheme=scheme)
            told = [
                f"{scheme} {self.page.url}: {one['id']}: {one['help']}: "
                + "; ".join(node["html"][:200] for node in one["nodes"][:3])
                for one in self.page.evaluate(FIND_VIOLATIONS, chosen[scheme])
            ]
            assert not told, "\n".join(told)
        self.page.emulate_media(color_scheme="light")
        self.check_width()

    def check_width(self) -> None:
        wide, inner = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= inner, f"{self.page.url} is {wide} pixels wide in {inner}"

    @property
    def heading(self) -> str:
        return str(self.page.locator("h1").first.inner_text())

    def text(self) -> str:
        return str(self.page.locator("body").inner_text())

    def press(self, name: str) -> None:
        """Press a button or follow a link by its name, and wait for the page that it leads to."""
        with self.page.expect_navigation():
            named = self.page.get_by_role("button", name=name, exact=True)
            if named.count() == 0:
                named = self.page.get_by_role("link", name=name, exact=True)
            named.first.click()


@contextmanager
def watch(
    browser: "Browser", base: str, *, width: int = 1280, **context: Any
) -> Iterator[WatchedPage]:
    """A new browser window without a session; its end fails for what was seen."""
    opened: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 900}, **context
    )
    try:
        watched = WatchedPage(opened.new_page(), base)
        yield watched
        assert watched.found == []
    finally:
        opened.close()
