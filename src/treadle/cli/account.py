"""`treadle account ...`: accounts, which own sources, and their tokens for the Connect API."""

from treadle.cli.command import Arguments, parse_positive
from treadle.cli.output import print_json, print_list, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.config import Config
from treadle.store.model import Account


def create_account(config: Config, arguments: Arguments) -> int:
    """Make an account and its first token."""
    client_id = (
        None if arguments.client_id is None else parse_positive("--client-id", arguments.client_id)
    )
    with open_existing_store(config, make=True) as store:
        account, token = store.accounts.create_account(arguments.name, client_id=client_id)
    _print_token(account, token, as_json=arguments.json)
    return 0


def list_accounts(config: Config, arguments: Arguments) -> int:
    """List the accounts."""
    with open_existing_store(config) as store:
        rows = [
            (a.id, a.name, to_whole_second(a.created_at)) for a in store.accounts.list_accounts()
        ]
    columns = ("stitch_client_id", "name", "created_at")
    print_list(columns, rows, as_json=arguments.json)
    return 0


def create_account_token(config: Config, arguments: Arguments) -> int:
    """Make another token for the Connect API."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        token = store.accounts.create_token(account.id, arguments.description)
    _print_token(account, token, as_json=arguments.json)
    return 0


def _print_token(account: Account, token: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stitch_client_id": account.id, "access_token": token})
    else:
        print(f"stitch_client_id: {account.id}")
        print(f"access_token: {token}  (shown this once)")
