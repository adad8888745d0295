"""`treadle token ...`: the import and webhook tokens of a source."""

import argparse
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_line
from treadle.cli.store_access import open_named_source
from treadle.cli.time_argument import parse_expiry
from treadle.cli.token_life import (
    OwnedTokens,
    TokenGroup,
    explain_token_limit,
    make_life_commands,
    print_made_token,
)
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.store.model import SenderSignature
    from treadle.store.token_rules import TokenRequest

SCHEMES = ("github", "stripe", "segment", "plain")
ENCODINGS = ("hex", "base64")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")


@contextmanager
def _open_tokens(
    config: Config, arguments: Arguments, kinds: tuple[str, ...] = ("import", "webhook")
) -> Iterator[OwnedTokens]:
    from treadle.store.tokens import TokenFilter

    with open_named_source(config, arguments) as (store, source):
        wanted = TokenFilter(kinds, source.account_id, source.id)
        owner = f"source {source.name}"
        yield OwnedTokens(store, wanted, owner, f"treadle token list {source.name}")


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--webhook",
        action="store_true",
        help="a token for a webhook's URL alone, which appends (default: a token for pushes)",
    )
    parser.add_argument(
        "--table",
        metavar="TABLE",
        action="append",
        default=[],
        help="a table that a webhook token fills; may be given several times (default: the table "
        "that the webhook of the source is set to)",
    )
    parser.add_argument("--description", default="", help="what the token is for")
    parser.add_argument(
        "--expires", metavar="WHEN", help="90d, 12h, a time in ISO 8601, or never (default: never)"
    )
    parser.add_argument(
        "--signature",
        metavar="SCHEME",
        choices=SCHEMES,
        help="the webhook's sender has to sign as github, stripe, segment or plain; its secret is "
        "read from standard input, after a token to import",
    )
    parser.add_argument(
        "--signature-header", metavar="NAME", help="header of plain (default: X-Signature-256)"
    )
    parser.add_argument(
        "--signature-encoding", metavar="E", choices=ENCODINGS, help="of plain: hex or base64"
    )


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    _add_request(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def create_token(config: Config, arguments: Arguments) -> int:
    """Make a token. Two import tokens may be active, so that one can replace the other."""
    asked = _read_request(arguments)
    with (
        _open_tokens(config, arguments, (asked.kind,)) as owned,
        explain_token_limit(owned),
    ):
        token = owned.store.tokens.issue_token(
            asked, account_id=owned.wanted.account_id, source_id=owned.wanted.source_id
        )
    print_made_token(token, as_json=arguments.json)
    return 0


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    _add_request(parser)


def import_token(config: Config, arguments: Arguments) -> int:
    """Take over a token that was made elsewhere, so that its clients need no change.

    It is read from standard input, because other users can see the arguments of a command.
    """
    secret = _read_secret("Token")
    if not secret or not secret.isascii() or any(c.isspace() for c in secret):
        raise OperatorError("The token on standard input is to be one line without blanks.")
    asked = _read_request(arguments)
    with (
        _open_tokens(config, arguments, (asked.kind,)) as owned,
        explain_token_limit(owned),
    ):
        token = owned.store.tokens.adopt_token(owned.wanted.source_id or 0, secret, asked)
    print_line(f"Imported token {token.id} into {owned.owner.removeprefix('source ')}.")
    return 0


def _read_request(arguments: Arguments) -> "TokenRequest":
    """Return what a new token is to be.

    Raises:
        UsageError: flags of webhook tokens without `--webhook`.
    """
    from treadle.store.token_rules import IMPORT, WEBHOOK, TokenRequest

    if not arguments.webhook and (arguments.table or arguments.signature):
        raise UsageError("--table and --signature are for webhook tokens; add --webhook.")
    plain = arguments.signature_header or arguments.signature_encoding
    if plain and arguments.signature != "plain":
        raise UsageError(
            "--signature-header and --signature-encoding are for --signature plain; the other "
            "schemes have their own."
        )
    return TokenRequest(
        kind=WEBHOOK if arguments.webhook else IMPORT,
        description=arguments.description,
        expires_at=parse_expiry("--expires", arguments.expires, read_clock()),
        tables=tuple(arguments.table),
        signature=_read_signature(arguments),
    )


def _read_signature(arguments: Arguments) -> "SenderSignature | None":
    from treadle.store.model import SenderSignature
    from treadle.store.token_rules import PLAIN_HEADER

    if arguments.signature is None:
        return None
    header = ""
    if arguments.signature == "plain":
        header = arguments.signature_header or PLAIN_HEADER
    return SenderSignature(
        arguments.signature,
        _read_secret("Secret of the sender"),
        header,
        arguments.signature_encoding or "hex",
    )


def _read_secret(prompt: str) -> str:
    """Return a line of standard input; at a terminal it is asked for and not shown."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{prompt} (not shown): ").strip()
    return sys.stdin.readline().strip()


COMMANDS = (
    CliCommand(
        words=("token", "create"),
        help="make a token and print it",
        run=create_token,
        arguments=_create_arguments,
    ),
    CliCommand(
        words=("token", "import"),
        help="take over a token made elsewhere, read from standard input",
        run=import_token,
        arguments=_import_arguments,
    ),
    *make_life_commands(
        TokenGroup(("token",), "the tokens of a source", _add_source, _open_tokens)
    ),
)
