"""What a token may be, and which tokens from elsewhere are taken over."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import OperatorError
from treadle.store.errors import TokenRuleError
from treadle.store.model import SenderSignature
from treadle.store.token_rules import (
    DIFFERENT_CHARACTERS_MIN,
    IMPORTED_CHARACTERS_MAX,
    IMPORTED_CHARACTERS_MIN,
    TABLES_MAX,
    TokenRequest,
    check_imported_token,
    check_token_request,
)

UNRESERVED = string.ascii_letters + string.digits + "._~-"
GOOD = "0123456789abcdef" * 4


@given(
    st.text(UNRESERVED, min_size=IMPORTED_CHARACTERS_MIN, max_size=IMPORTED_CHARACTERS_MAX).filter(
        lambda text: len(set(text)) >= DIFFERENT_CHARACTERS_MIN
    ),
    st.booleans(),
)
def test_a_long_token_of_unreserved_characters_is_imported(secret: str, in_url: bool) -> None:
    check_imported_token(secret, in_url=in_url)


@given(st.text(max_size=IMPORTED_CHARACTERS_MIN - 1), st.booleans())
def test_a_short_token_is_not_imported(secret: str, in_url: bool) -> None:
    with pytest.raises(TokenRuleError, match=r"has 22 to 512 characters.*this one has") as caught:
        check_imported_token(secret, in_url=in_url)
    # Short ones may be a word of the sentence, or a part of one.
    assert len(secret) < 12 or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "in_url"),
    [
        ("a", False),  # `echo a | treadle token import`
        (GOOD[:21], False),
        ("a" * 22, False),
        ("ab" * 100, True),
        ("12345" * 10, False),
        (GOOD + " ", False),
        (GOOD + "\n", False),
        ("\t" + GOOD, False),
        (GOOD + "é", False),
        (GOOD + "\ud800", False),
        (GOOD + "\0", False),
        (GOOD + "\x7f", False),
        (GOOD + "/", True),
        (GOOD + "%41", True),
        (GOOD + "?", True),
        (GOOD + "#", True),
        (GOOD * 9, False),
        ("", True),
    ],
)
def test_what_can_be_guessed_or_does_not_fit_is_not_imported(secret: str, in_url: bool) -> None:
    with pytest.raises(OperatorError, match="an imported token has 22 to 512 characters") as caught:
        check_imported_token(secret, in_url=in_url)
    assert GOOD[:21] not in str(caught.value)


def test_a_token_for_a_header_may_have_other_characters() -> None:
    check_imported_token(GOOD + "+/=", in_url=False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (TokenRequest("root"), "the kind of a token is one of account, import, webhook, metrics"),
        (TokenRequest("import", "x" * 256), "at most 255 characters, this one 256"),
        (TokenRequest("import", tables=("a",)), "only a webhook token"),
        (
            TokenRequest("account", signature=SenderSignature("github", "12345678")),
            "only a webhook token",
        ),
        (TokenRequest("webhook", tables=("a",) * (TABLES_MAX + 1)), "at most 100 tables"),
        (TokenRequest("webhook", tables=("a", " ")), "not all blank"),
        (TokenRequest("webhook", tables=("a" * 1025,)), "1 to 1024 characters"),
    ],
)
def test_a_request_that_breaks_a_rule(asked: TokenRequest, said: str) -> None:
    with pytest.raises(TokenRuleError, match=said):
        check_token_request(asked)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scheme": "md5"}, "the scheme of a signature is one of github, stripe, segment, plain"),
        ({"secret": "1234567"}, "8 to 512 printable characters, this one 7"),
        ({"secret": "1234567\n8"}, "printable"),
        ({"encoding": "hex2"}, "hex or base64"),
        ({"header": "X Signature"}, "letters, digits and -"),
        ({"header": "X-A\r\nX-B"}, "letters, digits and -"),
        ({"header": ""}, "letters, digits and -"),
        ({"scheme": "github"}, "a header and an encoding of its own"),
        ({"scheme": "stripe", "header": "", "encoding": "base64"}, "of its own"),
    ],
)
def test_a_signature_that_breaks_a_rule(fields: dict[str, Any], said: str) -> None:
    plain = {"scheme": "plain", "secret": "pl4in-secret", "header": "X-Sig", "encoding": "hex"}
    signature = SenderSignature(**(plain | fields))
    with pytest.raises(TokenRuleError, match=said) as caught:
        check_token_request(TokenRequest("webhook", signature=signature))
    assert signature.secret not in str(caught.value)


def test_no_secret_is_shown_by_accident() -> None:
    assert "pl4in-secret" not in repr(SenderSignature("github", "pl4in-secret"))
