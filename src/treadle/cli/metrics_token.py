"""`treadle metrics token ...`: the tokens that open `/metrics`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.store_access import open_existing_store
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


def _no_owner(_: argparse.ArgumentParser) -> None:
    """Add nothing: these tokens belong to the server."""


@contextmanager
def _open_tokens(config: Config, _: Arguments) -> Iterator[OwnedTokens]:
    from treadle.store.token_rules import METRICS
    from treadle.store.tokens import TokenFilter

    with open_existing_store(config) as store:
        yield OwnedTokens(store, TokenFilter((METRICS,)), "server", "treadle metrics token list")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--description", default="", help="what the token is for")
    parser.add_argument(
        "--expires", metavar="WHEN", help="90d, 12h, a time in ISO 8601, or never (default: never)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_token(config: Config, arguments: Arguments) -> int:
    """Make a token that opens `/metrics`."""
    from treadle.store.token_rules import METRICS, TokenRequest

    expires_at = parse_expiry("--expires", arguments.expires, read_clock())
    with _open_tokens(config, arguments) as owned, explain_token_limit(owned):
        asked = TokenRequest(METRICS, arguments.description, expires_at)
        token = owned.store.tokens.issue_token(asked)
    print_made_token(token, as_json=arguments.json, more="  (shown this once)")
    return 0


COMMANDS = (
    CliCommand(
        words=("metrics", "token", "create"),
        help="make a token that opens /metrics",
        run=create_token,
        arguments=_create_arguments,
    ),
    *make_life_commands(
        TokenGroup(("metrics", "token"), "the tokens that open /metrics", _no_owner, _open_tokens)
    ),
)
