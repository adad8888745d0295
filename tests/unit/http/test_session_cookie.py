"""The cookies of the console."""

import pytest

from treadle.http.session_cookie import (
    SESSION_COOKIE,
    format_cookie,
    read_cookie,
    read_plain_cookie,
)


def test_a_cookie_is_for_the_console_alone_and_out_of_reach_of_scripts() -> None:
    plain = format_cookie(SESSION_COOKIE, "secret", path="/console", seconds=43_200, secure=False)
    assert plain == (
        "treadle_session=secret; Max-Age=43200; Path=/console; HttpOnly; SameSite=Strict"
    )
    gone = format_cookie(SESSION_COOKIE, "", path="/a/console", seconds=0, secure=True)
    assert gone == (
        "__Secure-treadle_session=; Max-Age=0; Path=/a/console; HttpOnly; SameSite=Strict; Secure"
    )


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ([], None),
        ([b""], None),
        ([b"treadle_session=abc"], "abc"),
        ([b"theme=dark; treadle_session=abc;x=y"], "abc"),
        ([b"theme=dark", b"treadle_session=abc"], "abc"),
        ([b"treadle_session="], None),
        ([b"treadle_session"], None),
        ([b"treadle_session=abc; treadle_session=def"], None),
        ([b"treadle_session=abc", b"treadle_session=abc"], None),
        ([b"__Secure-treadle_session=abc"], None),
        ([b"Treadle_Session=abc"], None),
        ([b"xtreadle_session=abc"], None),
        ([b"treadle_session=a\xffb"], "a\xffb"),
    ],
)
def test_one_cookie_is_read_and_of_several_none(sent: list[bytes], found: str | None) -> None:
    headers = [(b"host", b"here"), *((b"cookie", text) for text in sent)]
    assert read_cookie(headers, SESSION_COOKIE, secure=False) == found


def test_over_tls_only_the_cookie_that_came_over_tls_counts() -> None:
    both = [(b"cookie", b"treadle_session=planted; __Secure-treadle_session=ours")]
    assert read_cookie(both, SESSION_COOKIE, secure=True) == "ours"
    planted = [(b"cookie", b"treadle_session=planted")]
    assert read_cookie(planted, SESSION_COOKIE, secure=True) is None
    assert read_plain_cookie(planted, SESSION_COOKIE) == "planted"
