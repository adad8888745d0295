"""Which requests count as sent by a page of the console."""

import pytest

from treadle.console.csrf import comes_from_here, has_form_token, make_form_token

PUBLIC = "https://data.example.com"


@pytest.mark.parametrize(
    ("headers", "is_here"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://here:1", "host": "here:1"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://here:1", "host": "here:1"}, True),
        ({"origin": "http://HERE:1", "host": "here:1"}, True),
        ({"origin": "http://here:2", "host": "here:1"}, False),
        ({"origin": PUBLIC, "host": "127.0.0.1"}, True),
        ({"origin": "https://data.example.com.evil.example", "host": "127.0.0.1"}, False),
        ({"origin": "null", "host": "here"}, False),
        ({"origin": "", "host": ""}, False),
        ({"origin": "http://[", "host": "["}, False),
        ({"host": "here"}, False),
    ],
)
def test_the_browser_says_who_sent_a_form(headers: dict[str, str], is_here: bool) -> None:
    assert comes_from_here(headers, PUBLIC) is is_here


def test_a_form_token_belongs_to_one_session_and_does_not_tell_it() -> None:
    token = make_form_token("secret")
    assert has_form_token("secret", token)
    assert not has_form_token("other", token)
    for sent in ("", "secret", token[:-1], "\u2713"):
        assert not has_form_token("secret", sent)
    assert "secret" not in token
