"""The cookie of a session of the console."""

import pytest

from treadle.http.session_cookie import format_session_cookie, read_session_cookie


def test_a_cookie_is_for_the_console_alone_and_out_of_reach_of_scripts() -> None:
    assert format_session_cookie("secret", seconds=43_200, secure=False) == (
        "treadle_session=secret; Max-Age=43200; Path=/console; HttpOnly; SameSite=Lax"
    )
    assert format_session_cookie("secret", seconds=0, secure=True) == (
        "__Secure-treadle_session=secret; Max-Age=0; Path=/console; HttpOnly; SameSite=Lax; Secure"
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
    assert read_session_cookie(headers, secure=False) == found


def test_over_tls_only_the_cookie_that_came_over_tls_counts() -> None:
    both = [(b"cookie", b"treadle_session=planted; __Secure-treadle_session=ours")]
    assert read_session_cookie(both, secure=True) == "ours"
    assert read_session_cookie([(b"cookie", b"treadle_session=planted")], secure=True) is None
