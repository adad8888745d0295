"""The rules for access tokens that need no store: kinds, limits, and what may be imported."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from treadle.store.errors import TokenRuleError
from treadle.store.model import SenderSignature

ACCOUNT: Final = "account"
IMPORT: Final = "import"
WEBHOOK: Final = "webhook"
METRICS: Final = "metrics"
KINDS: Final = (ACCOUNT, IMPORT, WEBHOOK, METRICS)
SOURCE_KINDS: Final = (IMPORT, WEBHOOK)
"""The kinds of which each token belongs to one source."""

PREFIXES: Final = {ACCOUNT: "ac_", IMPORT: "at_", WEBHOOK: "wh_", METRICS: "mt_"}
"""The beginning of tokens of each kind (connect-api.md 1.3), for people. A token of a request is
looked up whole, whatever its beginning."""

ACTIVE_TOKENS_MAX: Final = {ACCOUNT: 10, IMPORT: 2, WEBHOOK: 10, METRICS: 10}
"""Most active tokens of an account, of a source, or of the server. A source has two import tokens,
so that a client can change from one to the other without a gap (connect-api.md 2.6)."""

IMPORTED_CHARACTERS_MIN: Final = 22
"""Fewest characters of a token that was made elsewhere: 128 random bits in base64."""
IMPORTED_CHARACTERS_MAX: Final = 512
DIFFERENT_CHARACTERS_MIN: Final = 6
"""Fewest different characters of such a token. Of a million random ones not one has fewer."""

DESCRIPTION_CHARACTERS_MAX: Final = 255
TABLES_MAX: Final = 100
TABLE_CHARACTERS_MAX: Final = 1024

SIGNATURE_SCHEMES: Final = ("github", "stripe", "segment", "plain")
SIGNATURE_ENCODINGS: Final = ("hex", "base64")
PLAIN_HEADER: Final = "X-Signature-256"
"""The header of a plain signature where none is named."""
SIGNING_SECRET_CHARACTERS_MIN: Final = 8
SIGNING_SECRET_CHARACTERS_MAX: Final = 512

_PRINTABLE: Final = re.compile(r"[!-~]*")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")  # RFC 3986 2.3: need no percent in a URL
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The properties of a token that is to be made.

    Attributes:
        kind: one of KINDS.
        description: its purpose, as a text for people.
        expires_at: the time from which it is refused; None for never.
        tables: the only tables that a webhook token fills; empty for the table of its source.
        signature: the signature that a webhook's sender has to give; None for no signature.
    """

    kind: str
    description: str = ""
    expires_at: int | None = None
    tables: tuple[str, ...] = ()
    signature: SenderSignature | None = None


def check_token_request(asked: TokenRequest) -> None:
    """Check the properties of a new token.

    Raises:
        TokenRuleError: a part breaks a rule; the text says which.
    """
    if asked.kind not in KINDS:
        raise TokenRuleError(
            f"the kind of a token is one of {', '.join(KINDS)}, not {asked.kind!r}"
        )
    if len(asked.description) > DESCRIPTION_CHARACTERS_MAX:
        raise TokenRuleError(
            f"a description has at most {DESCRIPTION_CHARACTERS_MAX} characters, this one "
            f"{len(asked.description)}"
        )
    if asked.kind != WEBHOOK and (asked.tables or asked.signature is not None):
        raise TokenRuleError("only a webhook token can have tables and a signature")
    _check_tables(asked.tables)
    if asked.signature is not None:
        check_signature(asked.signature)


def _check_tables(names: Iterable[str]) -> None:
    wanted = list(names)
    if len(wanted) > TABLES_MAX:
        raise TokenRuleError(f"a token names at most {TABLES_MAX} tables, this one {len(wanted)}")
    for name in wanted:
        if not name.strip() or len(name) > TABLE_CHARACTERS_MAX:
            raise TokenRuleError(
                f"a table has a name of 1 to {TABLE_CHARACTERS_MAX} characters that are not all "
                f"blank, not {name[:40]!r}"
            )


def check_signature(signature: SenderSignature) -> None:
    """Check the signature that a sender is to give.

    Raises:
        TokenRuleError: a part breaks a rule. The text does not repeat the secret.
    """
    if signature.scheme not in SIGNATURE_SCHEMES:
        raise TokenRuleError(
            f"the scheme of a signature is one of {', '.join(SIGNATURE_SCHEMES)}, not "
            f"{signature.scheme!r}"
        )
    size = len(signature.secret)
    if (
        not SIGNING_SECRET_CHARACTERS_MIN <= size <= SIGNING_SECRET_CHARACTERS_MAX
        or not signature.secret.isprintable()
    ):
        raise TokenRuleError(
            f"the secret of a signature has {SIGNING_SECRET_CHARACTERS_MIN} to "
            f"{SIGNING_SECRET_CHARACTERS_MAX} printable characters, this one {size}: take the one "
            "that the sender shows"
        )
    if signature.encoding not in SIGNATURE_ENCODINGS:
        raise TokenRuleError(
            f"a signature is written as {' or '.join(SIGNATURE_ENCODINGS)}, not as "
            f"{signature.encoding!r}"
        )
    if signature.scheme == "plain" and not _HEADER.fullmatch(signature.header):
        raise TokenRuleError(
            "the header of a plain signature has a name of 1 to 64 letters, digits and -, not "
            f"{signature.header!r}"
        )
    if signature.scheme != "plain" and (signature.header, signature.encoding) != ("", "hex"):
        raise TokenRuleError(
            f"the scheme {signature.scheme} has a header and an encoding of its own; only plain "
            "can have others"
        )


def check_imported_token(secret: str, *, in_url: bool) -> None:
    """Check a token that was made elsewhere: nobody may be able to guess it.

    Args:
        secret: the token.
        in_url: it is to stand in a URL.

    Raises:
        TokenRuleError: it is too short or too long, or has other characters. The text does not
            repeat it.
    """
    expected = (
        f"an imported token has {IMPORTED_CHARACTERS_MIN} to {IMPORTED_CHARACTERS_MAX} characters, "
        "as many as 128 random bits take"
    )
    instead = "make one here with `treadle token create` and give it to the sender"
    size = len(secret)
    if not IMPORTED_CHARACTERS_MIN <= size <= IMPORTED_CHARACTERS_MAX:
        raise TokenRuleError(f"{expected}, and this one has {size}: {instead}")
    if not (_UNRESERVED if in_url else _PRINTABLE).fullmatch(secret):
        allowed = "A-Z a-z 0-9 . _ ~ -" if in_url else "printable ASCII without blanks"
        raise TokenRuleError(
            f"{expected} of {allowed}, and this one has other characters: {instead}"
        )
    if len(set(secret)) < DIFFERENT_CHARACTERS_MIN:
        raise TokenRuleError(
            f"{expected}, and this one repeats {len(set(secret))} of them, so that it can be "
            f"guessed: {instead}"
        )
