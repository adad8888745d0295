"""`treadle account ...`: who owns sources, and the tokens for the control API."""

import argparse

from treadle.cli.command import Arguments, Command
from treadle.cli.output import moment, plain, print_json, print_table
from treadle.cli.store import account_named, opened
from treadle.config import Config
from treadle.errors import OperatorFault


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="default", help="its name (default: default)")
    parser.add_argument(
        "--client-id",
        metavar="N",
        help="its stitch_client_id, for clients that have one already (default: the next free one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create(config: Config, arguments: Arguments) -> int:
    """Make an account with its first token."""
    client_id = None if arguments.client_id is None else _positive(arguments.client_id)
    with opened(config, make=True) as store:
        account, token = store.create_account(arguments.name, client_id=client_id)
    if arguments.json:
        print_json({"stitch_client_id": account.id, "access_token": token})
    else:
        print(f"stitch_client_id: {account.id}")
        print(f"access_token: {token}  (shown this once)")
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_(config: Config, arguments: Arguments) -> int:
    """List the accounts."""
    with opened(config) as store:
        rows = [(a.id, a.name, moment(a.created_at)) for a in store.accounts()]
    columns = ("stitch_client_id", "name", "created_at")
    if arguments.json:
        print_json([dict(zip(columns, map(plain, row), strict=True)) for row in rows])
    else:
        print_table(columns, rows)
    return 0


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument("--description", default="", help="what the token is for")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_token(config: Config, arguments: Arguments) -> int:
    """Make a further token for the control API."""
    with opened(config) as store:
        account = account_named(store, arguments.account)
        token = store.create_account_token(account.id, arguments.description)
    if arguments.json:
        print_json({"stitch_client_id": account.id, "access_token": token})
    else:
        print(f"stitch_client_id: {account.id}")
        print(f"access_token: {token}  (shown this once)")
    return 0


def _positive(text: str) -> int:
    """A client id (connect-api.md 4.7: positive)."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**63:
        raise OperatorFault(f"--client-id is to be a whole number above 0, not {text!r}.")
    return int(text)


COMMANDS = (
    Command(
        words=("account", "create"),
        help="make an account and print its client id and token",
        run=create,
        arguments=_create_arguments,
    ),
    Command(
        words=("account", "list"),
        help="list the accounts",
        run=list_,
        arguments=_list_arguments,
    ),
    Command(
        words=("account", "token", "create"),
        help="make a further token for the control API",
        run=create_token,
        arguments=_token_arguments,
    ),
)
