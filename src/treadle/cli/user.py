"""`treadle user ...`: the people who sign in to the console (console.md B.5 P17)."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.folder_server import ADDRESS_HELPS, find_folder_server
from treadle.cli.output import print_json, print_line, print_list, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.clock import read_clock
from treadle.config import Config
from treadle.console_link import make_invite_link
from treadle.errors import OperatorError
from treadle.store.model import ConsoleRole, ConsoleUser

if TYPE_CHECKING:
    from treadle.store.store import Store

COLUMNS = (
    *("id", "name", "email", "role", "state", "stitch_client_id", "created_at", "last_seen_at"),
    *("disabled_at", "invited_until"),
)
ROLES = tuple(role.value for role in ConsoleRole)
LINK_SETTINGS = ("host", "port", "tls_cert", "console_path", "public_url")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_users(config: Config, arguments: Arguments) -> int:
    """List the users, disabled and invited ones too."""
    from treadle.control.user_operations import name_state

    now = read_clock()
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        found = store.users.list_users(account.id if account else None)
    rows = [
        (
            one.id,
            one.name,
            one.email,
            one.role.value,
            name_state(one, now),
            one.account_id,
            to_whole_second(one.created_at),
            to_whole_second(one.last_seen_at),
            to_whole_second(one.disabled_at),
            to_whole_second(one.invited_until),
        )
        for one in found
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("email", metavar="EMAIL", help="address to sign in with")
    parser.add_argument("--name", help="for people (default: what is before the @)")
    parser.add_argument(
        "--role", choices=ROLES, default="admin", help="what it may do (default: admin)"
    )
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument(
        "--all-accounts", action="store_true", help="an admin of the installation, who sees all"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_user(config: Config, arguments: Arguments) -> int:
    """Add a user, and print the link of the invitation."""
    from treadle.people.rules import check_user, require_admin_left

    name = arguments.name or arguments.email.partition("@")[0]
    role = ConsoleRole(arguments.role)
    if arguments.all_accounts and role != ConsoleRole.ADMIN:
        raise OperatorError("Who sees all accounts is an admin: leave --role out.")
    check_user(name, arguments.email)
    with open_existing_store(config) as store:
        account = None if arguments.all_accounts else find_account(store, arguments.account)
        user, secret = store.users.add_user(
            account.id if account else None, name, arguments.email, role, require_admin_left
        )
    _print_invite(config, user, secret, as_json=arguments.json)
    return 0


def _named_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="id or e-mail address")


def _invite_arguments(parser: argparse.ArgumentParser) -> None:
    _named_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def invite_user(config: Config, arguments: Arguments) -> int:
    """Print another link, by which a user sets a new password."""
    with open_existing_store(config) as store:
        found = _find_user(store, arguments.user)
        if found.disabled_at is not None:
            raise OperatorError(
                f"{found.email} is disabled; `treadle user enable {found.id}` comes first."
            )
        user, secret = store.users.renew_invite(None, found.id)
    _print_invite(config, user, secret, as_json=arguments.json)
    return 0


def _role_arguments(parser: argparse.ArgumentParser) -> None:
    _named_arguments(parser)
    parser.add_argument("role", metavar="ROLE", choices=ROLES, help=", ".join(ROLES))


def change_role(config: Config, arguments: Arguments) -> int:
    """Give a user another role, and end its sessions."""
    from treadle.people.rules import require_admin_left

    role = ConsoleRole(arguments.role)

    def change(store: "Store", user: ConsoleUser) -> str:
        if user.account_id is None and role != ConsoleRole.ADMIN:
            raise OperatorError(f"{user.email} sees all accounts, and stays an admin.")
        store.users.change_role(None, user.id, role, require_admin_left)
        return f"{user.email} has the role {role.value}."

    return _change_user(config, arguments, change)


def disable_user(config: Config, arguments: Arguments) -> int:
    """Refuse a user, and end its sessions."""
    return _set_disabled(config, arguments, disabled=True)


def enable_user(config: Config, arguments: Arguments) -> int:
    """Let a user in again."""
    return _set_disabled(config, arguments, disabled=False)


def _set_disabled(config: Config, arguments: Arguments, *, disabled: bool) -> int:
    from treadle.people.rules import require_admin_left

    def change(store: "Store", user: ConsoleUser) -> str:
        store.users.set_disabled(None, user.id, require_admin_left, disabled=disabled)
        return f"{user.email} is {'disabled' if disabled else 'enabled'}."

    return _change_user(config, arguments, change)


def delete_user(config: Config, arguments: Arguments) -> int:
    """Delete a user, and end its sessions."""
    from treadle.people.rules import require_admin_left

    def change(store: "Store", user: ConsoleUser) -> str:
        store.users.delete_user(None, user.id, require_admin_left)
        return f"{user.email} is deleted; the trail keeps what was done."

    return _change_user(config, arguments, change)


def _change_user(
    config: Config, arguments: Arguments, change: Callable[["Store", ConsoleUser], str]
) -> int:
    with open_existing_store(config) as store:
        said = change(store, _find_user(store, arguments.user))
    print_line(said)
    return 0


def _find_user(store: "Store", wanted: str) -> ConsoleUser:
    known = store.users.list_users(None)
    for one in known:
        if wanted == str(one.id) or wanted.casefold() == one.email.casefold():
            return one
    names = ", ".join(f"{one.email} ({one.id})" for one in known)
    if not names:
        raise OperatorError("There is no user yet; add one with `treadle user add EMAIL`.")
    raise OperatorError(f"There is no user {wanted!r}; there is {names}.")


def _print_invite(config: Config, user: ConsoleUser, secret: str, *, as_json: bool) -> None:
    url = config.public_url or find_folder_server(config).url
    link = make_invite_link(url, config.console_path, secret)
    if as_json:
        print_json({"id": user.id, "email": user.email, "role": user.role.value, "link": link})
        return
    print_line(link)
    print_line(
        f"Give it to {user.email}: it sets a password once, within a week. User {user.id} is "
        f"{user.role.value}."
    )


COMMANDS = (
    CliCommand(
        words=("user", "list"),
        help="list the people who sign in to the console",
        run=list_users,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("user", "add"),
        help="add somebody who signs in to the console, and print a link to set a password",
        run=add_user,
        arguments=_add_arguments,
        settings=LINK_SETTINGS,
        helps=ADDRESS_HELPS,
    ),
    CliCommand(
        words=("user", "invite"),
        help="print another link to set a password, also for who forgot it",
        run=invite_user,
        arguments=_invite_arguments,
        settings=LINK_SETTINGS,
        helps=ADDRESS_HELPS,
    ),
    CliCommand(
        words=("user", "role"),
        help="give a user another role",
        run=change_role,
        arguments=_role_arguments,
    ),
    CliCommand(
        words=("user", "disable"),
        help="refuse a user, and end its sessions",
        run=disable_user,
        arguments=_named_arguments,
    ),
    CliCommand(
        words=("user", "enable"),
        help="let a user in again",
        run=enable_user,
        arguments=_named_arguments,
    ),
    CliCommand(
        words=("user", "delete"),
        help="delete a user, and end its sessions",
        run=delete_user,
        arguments=_named_arguments,
    ),
)
