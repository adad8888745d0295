"""`treadle account ...`: accounts, which own sources, and their tokens for the Connect API."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.output import ask_user, print_json, print_line, print_list, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.cli.time_argument import parse_expiry
from treadle.cli.token_life import (
    OwnedTokens,
    TokenGroup,
    explain_token_limit,
    make_life_commands,
    open_token,
    print_made_token,
)
from treadle.clock import read_clock
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError
from treadle.store.model import Account
from treadle.text import escape_unprintable, shorten_line

if TYPE_CHECKING:
    from treadle.store.store import Store

FIRST_NAME: Final = "default"
"""The name of the first account, if none is given."""

TABLES_NAMED: Final = 10
"""Most tables that a refusal names."""


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name", help="its name; has to be given beside other accounts (default: default)"
    )
    parser.add_argument(
        "--client-id",
        metavar="N",
        help="its stitch_client_id, for clients that have one already (default: the next free one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_account(config: Config, arguments: Arguments) -> int:
    """Make an account and its first token."""
    client_id = (
        None if arguments.client_id is None else parse_positive("--client-id", arguments.client_id)
    )
    with open_existing_store(config, make=True) as store:
        others = store.accounts.list_accounts()
        if arguments.name is None and others:
            known = ", ".join(f"{one.name} ({one.id})" for one in others)
            raise OperatorError(
                f"There is an account already: {known}. Say with --name what to call another one."
            )
        name = FIRST_NAME if arguments.name is None else arguments.name
        account, token = store.accounts.create_account(name, client_id=client_id)
    _print_token(account, token, as_json=arguments.json)
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_accounts(config: Config, arguments: Arguments) -> int:
    """List the accounts."""
    with open_existing_store(config) as store:
        rows = [
            (a.id, a.name, to_whole_second(a.created_at)) for a in store.accounts.list_accounts()
        ]
    columns = ("stitch_client_id", "name", "created_at")
    print_list(columns, rows, as_json=arguments.json)
    return 0


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="id or name of the account")
    parser.add_argument("name", metavar="NAME", help="its new name")


def rename_account(config: Config, arguments: Arguments) -> int:
    """Give an account another name for people. Its id, which clients send, stays."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        changed = store.accounts.rename_account(account.id, arguments.name)
    print_line(f"Account {changed.id} is called {changed.name} now, and no longer {account.name}.")
    return 0


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="id or name of the account")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def delete_account(config: Config, arguments: Arguments) -> int:
    """Delete an account that has no source any more, with its tokens. Its tables stay.

    What its deleted sources sent is loaded first: nothing else would ever load it, or remove it
    from the log.
    """
    from treadle.store.errors import AccountNeededError

    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        if waiting := _list_waiting(config, store, account):
            raise OperatorError(_explain_waiting(account, waiting))
        if not arguments.yes and not _confirm_deletion(account):
            return 0
        try:
            store.accounts.delete_account(account.id)
        except AccountNeededError as error:
            raise OperatorError(
                f"The account {account.id} ({account.name}) still has {', '.join(error.owned)}: "
                "delete, disable or remove them first."
                if error.owned
                else f"The account {account.id} ({account.name}) is the only one, so it stays; "
                "`treadle account rename` gives it another name."
            ) from None
    print_line(f"Deleted account {account.id} ({account.name}); its tokens are refused.")
    return 0


def _list_waiting(config: Config, store: "Store", account: Account) -> list[tuple[str, str, int]]:
    """Return source, table and records that wait of each table of an account of which some do.

    Raises:
        OperatorError: a log that its sources are on is not here.
        RetriableError: a log is not available now.
    """
    from treadle.log.protocol import LogState
    from treadle.log.registry import InstallationDirectory, name_log_file, name_log_place
    from treadle.tracking.ledger import count_waiting_records

    sources = {one.id: one for one in store.sources.list_sources(account.id)}
    if any(one.deleted_at is None for one in sources.values()):
        return []  # it is not deleted with them, whatever waits
    directory = InstallationDirectory(config, store.logs)
    numbers = {store.logs.get_number(source_id) for source_id in sources}
    found: list[tuple[str, str, int]] = []
    for log in directory.list_logs():
        if log.number not in numbers or log.state is LogState.CLOSED:
            continue
        if not log.url and not name_log_file(config, log.number).exists():
            if not log.log_id:  # no server has opened it yet
                continue
            raise OperatorError(
                f"The log {name_log_place(config, log)} is not here, so nobody can say whether "
                f"records of the account {account.id} ({account.name}) wait in it. Run the command "
                "on the machine of the log."
            )
        with closing(directory.open_reader(log.number)) as reader:
            waiting = count_waiting_records(store, reader, sources)
        found += [(sources[key[0]].name, key[1], count) for key, count in waiting.items()]
    return found


def _explain_waiting(account: Account, waiting: Sequence[tuple[str, str, int]]) -> str:
    """Return why an account is not deleted while something of it waits, and what to do. Pure."""
    named = [
        f"{shorten_line(escape_unprintable(table), 80)} of source {source} "
        f"({count_noun(count, 'record')})"
        for source, table, count in waiting[:TABLES_NAMED]
    ]
    if len(waiting) > TABLES_NAMED:
        named.append(f"{count_noun(len(waiting) - TABLES_NAMED, 'further table')}")
    records = count_noun(sum(count for *_, count in waiting), "accepted record")
    return (
        f"The account {account.id} ({account.name}) is not deleted: {records} of it would never be "
        f"loaded, and would stay in the log. There wait {', '.join(named)}. Bring its destination "
        "back, or give it another one with `treadle destination create --account "
        f"{account.id}`, and let the server load them; `treadle destination list` and `treadle "
        "status` say what keeps it from that. Then delete the account."
    )


def _confirm_deletion(account: Account) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError(
            f"Deleting the account {account.name} cannot be undone; add --yes to do it."
        )
    question = f"Delete the account {account.id} ({account.name}) for good? [y/N] "
    return ask_user(question).strip().lower() in ("y", "yes")


def _add_account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")


@contextmanager
def _open_tokens(config: Config, arguments: Arguments) -> Iterator[OwnedTokens]:
    from treadle.store.token_rules import ACCOUNT
    from treadle.store.tokens import TokenFilter

    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        wanted = TokenFilter((ACCOUNT,), account.id)
        list_them = f"treadle account token list --account {account.id}"
        yield OwnedTokens(store, wanted, f"account {account.id}", list_them)


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    parser.add_argument("--description", default="", help="what the token is for")
    parser.add_argument(
        "--expires", metavar="WHEN", help="90d, 12h, a time in ISO 8601, or never (default: never)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_account_token(config: Config, arguments: Arguments) -> int:
    """Make another token for the Connect API."""
    from treadle.store.token_rules import ACCOUNT, TokenRequest

    expires_at = parse_expiry("--expires", arguments.expires, read_clock())
    with _open_tokens(config, arguments) as owned, explain_token_limit(owned):
        asked = TokenRequest(ACCOUNT, arguments.description, expires_at)
        token = owned.store.tokens.issue_token(asked, account_id=owned.wanted.account_id)
    print_made_token(token, as_json=arguments.json, more="  (shown this once)")
    return 0


def _one_token_arguments(parser: argparse.ArgumentParser) -> None:
    _add_account(parser)
    parser.add_argument("token_id", metavar="TOKEN_ID", help="as the list shows it")


def disable_account_token(config: Config, arguments: Arguments) -> int:
    """Disable a token: it is refused until it is enabled."""
    return _switch_token(config, arguments, disabled=True)


def enable_account_token(config: Config, arguments: Arguments) -> int:
    """Enable a token that is disabled."""
    return _switch_token(config, arguments, disabled=False)


def _switch_token(config: Config, arguments: Arguments, *, disabled: bool) -> int:
    with open_token(_open_tokens, config, arguments) as (owned, token_id):
        owned.store.tokens.change_token(owned.wanted, token_id, disabled=disabled)
    done = "Disabled" if disabled else "Enabled"
    print_line(f"{done} token {token_id} of {owned.owner}.")
    return 0


def delete_account_token(config: Config, arguments: Arguments) -> int:
    """Delete a token: it is refused at once and for good, as after `revoke`."""
    with open_token(_open_tokens, config, arguments) as (owned, token_id):
        owned.store.tokens.end_token(owned.wanted, token_id)
    print_line(f"Deleted token {token_id} of {owned.owner}.")
    return 0


def _print_token(account: Account, token: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stitch_client_id": account.id, "access_token": token})
    else:
        print_line(f"stitch_client_id: {account.id}")
        print_line(f"access_token: {token}  (shown this once)")


COMMANDS = (
    CliCommand(
        words=("account", "create"),
        help="make an account and print its client id and token",
        run=create_account,
        arguments=_create_arguments,
    ),
    CliCommand(
        words=("account", "list"),
        help="list the accounts",
        run=list_accounts,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("account", "rename"),
        help="give an account another name",
        run=rename_account,
        arguments=_rename_arguments,
    ),
    CliCommand(
        words=("account", "delete"),
        help="delete an account that has no source and no waiting records, with its tokens",
        run=delete_account,
        arguments=_delete_arguments,
    ),
    CliCommand(
        words=("account", "token", "create"),
        help="make another token for the Connect API",
        run=create_account_token,
        arguments=_token_arguments,
    ),
    CliCommand(
        words=("account", "token", "disable"),
        help="disable a token: it is refused until it is enabled",
        run=disable_account_token,
        arguments=_one_token_arguments,
    ),
    CliCommand(
        words=("account", "token", "enable"),
        help="enable a token that is disabled",
        run=enable_account_token,
        arguments=_one_token_arguments,
    ),
    CliCommand(
        words=("account", "token", "delete"),
        help="delete a token: it is refused for good",
        run=delete_account_token,
        arguments=_one_token_arguments,
    ),
    *make_life_commands(
        TokenGroup(("account", "token"), "the tokens of an account", _add_account, _open_tokens)
    ),
)
