"""Paths of pages, and where the console is."""

from urllib.parse import unquote, urljoin

import pytest

from treadle.console.page_request import (
    ConsolePlaces,
    PageRoute,
    find_page_above,
    find_route,
    is_named_by,
    name_table_part,
    quote_part,
)
from treadle.console.pages import REGIONS, ROUTES
from treadle.console.sign_in import is_console_path

ROUTE = PageRoute("/sources/{source}/tables/{table}")


@pytest.mark.parametrize(
    "name", ["orders", "a/b", "..", "\u00e9 x", "%2F", "a\0b", "?x#y", "\udc80"]
)
def test_any_name_is_one_part_of_a_path(name: str) -> None:
    found = find_route([ROUTE], f"/sources/7/tables/{quote_part(name)}")
    assert found is not None
    assert found[1]["source"] == "7"
    if name != "\udc80":  # its bytes are no UTF-8, and come back as they may
        assert found[1]["table"] == name


@pytest.mark.parametrize("name", [".", "..", "...", ".a", "a" * 201])
def test_a_link_to_a_table_is_one_that_a_browser_follows(name: str) -> None:
    path = f"/sources/7/tables/{name_table_part(name)}/rows"
    assert urljoin("http://here/", path) == f"http://here{path}"
    part = unquote(path.split("/")[4])
    assert is_named_by(part, name)
    assert not is_named_by(part, f"{name}.")


@pytest.mark.parametrize(
    "path", ["/sources/7/tables", "/sources/7/tables/a/b", "/x/7/tables/a", ""]
)
def test_other_paths_have_no_page(path: str) -> None:
    assert find_route([ROUTE], path) is None


def test_every_pattern_leads_to_its_own_route() -> None:
    for route in ROUTES:
        found = find_route(ROUTES, route.pattern.replace("{", "").replace("}", ""))
        assert found is not None
        assert found[0] is route
        assert route.show or route.act or route.task
    wanted = {"overview", "start", "tokens", "problems", "health", "examinations"}
    assert wanted | {"requests", "refused"} <= set(REGIONS)
    assert {"overview", "start", "tokens", "source-tokens", "rotation"} <= set(REGIONS)


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/hooks/7/test", "/hooks/7"),
        ("/tokens/3", "/tokens"),
        ("/destinations/5/check", "/destinations/5"),
        ("/recipients/test", "/recipients"),
        ("/people/sessions/3/end", "/people"),
        ("/preferences", None),
    ],
)
def test_a_path_that_only_takes_forms_is_below_a_page(path: str, above: str | None) -> None:
    found = find_route(ROUTES, path)
    assert found is not None
    assert found[0].show is None
    assert find_page_above(ROUTES, found[0], path) == above
    assert find_page_above([], found[0], path) is None


@pytest.mark.parametrize(
    ("public_url", "base", "origin"),
    [
        (None, "/console", None),
        ("https://data.example.com", "/console", "https://data.example.com"),
        ("https://Data.example.com/a/treadle/", "/a/treadle/console", "https://data.example.com"),
    ],
)
def test_a_proxy_may_put_something_before_the_path(
    public_url: str | None, base: str, origin: str | None
) -> None:
    places = ConsolePlaces.parse("/console", public_url)
    assert (places.base, places.origin) == (base, origin)


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("/sources?x=1", True),
        ("/", True),
        ("", False),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("/a\nb", False),
        ("/\u202e", False),
    ],
)
def test_only_a_path_of_the_console_is_led_back_to(text: str, is_path: bool) -> None:
    assert is_console_path(text) is is_path
