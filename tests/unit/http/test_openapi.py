"""Documents of rooms become one."""

from typing import Any

import pytest

from treadle.errors import InternalError
from treadle.http.openapi import merge_documents


def document(name: str, path: str, operation: str | None = None) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1", "description": f"\nAbout {name}.\n"},
        "tags": [{"name": name}],
        "paths": {path: {"get": {"operationId": operation or name, "responses": {}}}},
        "components": {"schemas": {name: {"type": "object"}}},
    }


def test_paths_components_and_descriptions_are_all_there() -> None:
    whole = merge_documents("all", "2", [document("one", "/a"), document("two", "/b")])
    assert whole["info"] == {
        "title": "all",
        "version": "2",
        "description": "## one\n\nAbout one.\n\n## two\n\nAbout two.\n",
    }
    assert list(whole["paths"]) == ["/a", "/b"]
    assert list(whole["components"]["schemas"]) == ["one", "two"]
    assert whole["tags"] == [{"name": "one"}, {"name": "two"}]


def test_the_same_component_may_come_twice_and_another_may_not() -> None:
    one, two = document("one", "/a"), document("two", "/b")
    two["components"]["schemas"]["one"] = {"type": "object"}
    assert list(merge_documents("", "", [one, two])["components"]["schemas"]) == ["one", "two"]
    two["components"]["schemas"]["one"] = {"type": "array"}
    with pytest.raises(InternalError, match="'one'"):
        merge_documents("", "", [one, two])


def test_two_operations_have_two_names() -> None:
    with pytest.raises(InternalError, match="same"):
        merge_documents("", "", [document("one", "/a", "same"), document("two", "/b", "same")])


def test_a_path_of_a_proxy_is_that_of_the_server() -> None:
    assert "servers" not in merge_documents("", "", [document("one", "/a")])
    whole = merge_documents("", "", [document("one", "/a")], "/data/treadle")
    assert whole["servers"] == [{"url": "/data/treadle"}]
