"""Which paths are taken with repeated slashes (connect-rest.md A.3 row 1)."""

import pytest

from treadle.http.paths import collapse_slashes


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v4//sources", "/v4/sources"),
        ("//v4/sources", "/v4/sources"),
        ("///v4////sources//7///tokens", "/v4/sources/7/tokens"),
        ("/v3//accounts", "/v3/accounts"),
        ("//notifications/public/v1/api//hooks", "/notifications/public/v1/api/hooks"),
        ("/oauth//token", "/oauth/token"),
        ("/v4//", "/v4/"),
        ("//v4", "/v4"),
    ],
)
def test_paths_of_the_connect_api_have_single_slashes(path: str, meant: str) -> None:
    assert collapse_slashes(path) == meant


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/v4/sources",
        "//v2/import/push",
        "/v2//import/push",
        "/v1//tokens",
        "/v1/tables//records",
        "//v1/tables/a/records",
        "/docs//static",
        "/metrics//",
        "//metrics",
        "/v40//sources",
        "/x//v4/sources",
        "/V4//sources",
        "/notifications2//a",
        "v4//sources",
    ],
)
def test_all_other_paths_stay_as_they_are(path: str) -> None:
    assert collapse_slashes(path) == path


def test_a_path_of_slashes_costs_no_more_than_its_length() -> None:
    assert collapse_slashes("/v4" + "/" * 1_000_000) == "/v4/"
    assert collapse_slashes("/" * 1_000_000) == "/" * 1_000_000
