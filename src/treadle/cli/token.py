"""`treadle token ...`: the Import API tokens of a source."""

import argparse
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_list, to_whole_second
from treadle.cli.store_access import open_named_source
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.store.model import Source

if TYPE_CHECKING:
    from treadle.store.store import Store

COLUMNS = ("token_id", "created_at", "first_used_at", "last_used_at", "uses")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")


def _json_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def list_tokens(config: Config, arguments: Arguments) -> int:
    """List the tokens of a source, without their secrets."""
    with open_named_source(config, arguments) as (store, source):
        rows = [
            (
                t.id,
                to_whole_second(t.created_at),
                to_whole_second(t.first_used_at),
                to_whole_second(t.last_used_at),
                t.uses,
            )
            for t in store.tokens.list_tokens(source.id)
        ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def create_token(config: Config, arguments: Arguments) -> int:
    """Make a token. Two may be active, so that one can replace the other without a gap."""
    with (
        open_named_source(config, arguments) as (store, source),
        _explain_token_limit(store, source),
    ):
        token = store.tokens.create_token(source.account_id, source.id)
    if arguments.json:
        made = {"token_id": token.id, "access_token": token.secret}
        print_json({"stitch_client_id": source.account_id, "source_id": source.id} | made)
    else:
        print_line(f"stitch_client_id: {source.account_id}")
        print_line(f"token_id: {token.id}")
        print_line(f"access_token: {token.secret}")
    return 0


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("token_id", metavar="TOKEN_ID", help="as `treadle token list` shows it")


def revoke_token(config: Config, arguments: Arguments) -> int:
    """Revoke a token at once."""
    with open_named_source(config, arguments) as (store, source):
        active = [t for t in store.tokens.list_tokens(source.id) if str(t.id) == arguments.token_id]
        if not active or not store.tokens.revoke_token(source.account_id, source.id, active[0].id):
            raise OperatorError(
                f"The source {source.name} has no active token {arguments.token_id}; "
                f"`treadle token list {source.name}` shows what it has."
            )
    print_line(f"Revoked token {active[0].id} of {source.name}.")
    return 0


def import_token(config: Config, arguments: Arguments) -> int:
    """Take over a token that was made elsewhere, so that its clients need no change.

    It is read from standard input, because other users can see the arguments of a command.
    """
    if sys.stdin.isatty():
        secret = getpass.getpass("Token (not shown): ").strip()
    else:
        secret = sys.stdin.readline().strip()
    if not secret or not secret.isascii() or any(c.isspace() for c in secret):
        raise OperatorError("The token on standard input is to be one line without blanks.")
    with (
        open_named_source(config, arguments) as (store, source),
        _explain_token_limit(store, source),
    ):
        token = store.tokens.adopt_token(source.id, secret)
    print_line(f"Imported token {token.id} into {source.name}.")
    return 0


@contextmanager
def _explain_token_limit(store: "Store", source: Source) -> Iterator[None]:
    """Say what to type if a source has as many tokens as it may have (connect-api.md 2.6)."""
    from treadle.store.errors import TokenLimitError

    try:
        yield
    except TokenLimitError as error:
        active = " and ".join(str(token.id) for token in store.tokens.list_tokens(source.id))
        raise OperatorError(
            f"The source {source.name} has {error.limit} active tokens ({active}), the most it may "
            f"have; revoke one first: `treadle token revoke {source.name} TOKEN_ID`."
        ) from None


COMMANDS = (
    CliCommand(
        words=("token", "list"),
        help="list a source's active tokens",
        run=list_tokens,
        arguments=_json_arguments,
    ),
    CliCommand(
        words=("token", "create"),
        help="make a token and print it",
        run=create_token,
        arguments=_json_arguments,
    ),
    CliCommand(
        words=("token", "revoke"),
        help="revoke a token at once",
        run=revoke_token,
        arguments=_revoke_arguments,
    ),
    CliCommand(
        words=("token", "import"),
        help="take over a token made elsewhere, read from standard input",
        run=import_token,
        arguments=_arguments,
    ),
)
