"""The pages of long lists (connect-api.md 1.5)."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

PAGE_ROWS: Final = 100
"""Rows of a page (connect-api.md 1.5)."""

_PAGE_DIGITS_MAX: Final = 18
"""Most digits of a page number: as many as always fit into 64 bits."""

T = TypeVar("T")


def parse_page_number(asked: str | None) -> int:
    """Return the page asked for; 1 for none and for what is no positive integer."""
    if asked is None or not asked.isascii() or not asked.isdigit() or len(asked) > _PAGE_DIGITS_MAX:
        return 1
    return max(int(asked), 1)


def render_page(
    rows: Sequence[T], asked: str | None, path: str, shape: Callable[[T], object]
) -> dict[str, Any]:
    """Return the envelope of one page; a page beyond the end has no rows and a `previous` link.

    Args:
        rows: the whole result, in order; only the rows of the page are shaped.
        asked: the query's `render_page`, None when there is none.
        path: of the endpoint, for the links, which are relative to the host.
        shape: row -> JSON value.
    """
    at = parse_page_number(asked)
    total = len(rows)
    links: dict[str, str] = {}
    if at * PAGE_ROWS < total:
        links["next"] = f"{path}?page={at + 1}"
    if at > 1:
        links["previous"] = f"{path}?page={at - 1}"
    data = [shape(row) for row in rows[(at - 1) * PAGE_ROWS : at * PAGE_ROWS]]
    return {"data": data, "page": at, "total": total, "links": links}
