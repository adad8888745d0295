"""`treadle recipient ...`: addresses that are told of problems by mail (connect-rest.md A.2.5)."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_line, print_list, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.store.model import MailRecipient

if TYPE_CHECKING:
    from treadle.store.store import Store

COLUMNS = ("id", "email_address", "state", "stitch_client_id", "created_at", "disabled_at")

NOT_SENT = "Stored, not sent: no smtp_url."


def _add_account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_recipients(config: Config, arguments: Arguments) -> int:
    """List the addresses, disabled ones too."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        found = store.recipients.list_recipients(account.id if account else None)
    rows = [
        (
            one.id,
            one.address,
            "enabled" if one.disabled_at is None else "disabled",
            one.account_id,
            to_whole_second(one.created_at),
            to_whole_second(one.disabled_at),
        )
        for one in found
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    if rows and not arguments.json:
        _tell_whether_sent(config)
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="e-mail address")
    _add_account(parser)


def add_recipient(config: Config, arguments: Arguments) -> int:
    """Add an address to those of an account."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        added = store.recipients.add_recipient(account.id, arguments.address)
    print_line(f"{added.address} is recipient {added.id} of account {account.id}.")
    _tell_whether_sent(config)
    return 0


def _named_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipient", metavar="RECIPIENT", help="id or e-mail address")
    _add_account(parser)


def disable_recipient(config: Config, arguments: Arguments) -> int:
    """Send nothing to an address any more."""
    return _set_disabled(config, arguments, read_clock())


def enable_recipient(config: Config, arguments: Arguments) -> int:
    """Send to an address again."""
    return _set_disabled(config, arguments, None)


def _set_disabled(config: Config, arguments: Arguments, disabled_at: int | None) -> int:
    with open_existing_store(config) as store:
        found = _find_recipient(store, arguments)
        already = (found.disabled_at is None) == (disabled_at is None)
        if not already:
            store.recipients.set_disabled(found.account_id, found.id, disabled_at)
    state = "enabled" if disabled_at is None else "disabled"
    print_line(f"{found.address} {'was' if already else 'is'} {state}.")
    return 0


def remove_recipient(config: Config, arguments: Arguments) -> int:
    """Remove an address."""
    with open_existing_store(config) as store:
        found = _find_recipient(store, arguments)
        store.recipients.remove_recipient(found.account_id, found.id)
    print_line(f"{found.address} is no recipient of account {found.account_id} any more.")
    return 0


def test_recipient(config: Config, arguments: Arguments) -> int:
    """Send a mail to an address at once, and tell whether the mail server took it."""
    from treadle.control.recipient_operations import RecipientOperations
    from treadle.server.outbound_trials import OutboundTrials

    if config.smtp_url is None:
        raise OperatorError("There is no mail server: set smtp_url.")
    with open_existing_store(config) as store:
        recipient = _find_recipient(store, arguments)
        accounts = store.accounts.list_accounts()
        account = next(one for one in accounts if one.id == recipient.account_id)
        sender = OutboundTrials(config, store.installation_id)
        found = RecipientOperations(store).send_test(account, str(recipient.id), sender)
    if not found["sent"]:
        raise OperatorError(f"The mail to {recipient.address} was not taken: {found['error']}.")
    print_line(f"The mail server took a mail to {recipient.address}.")
    return 0


def _find_recipient(store: "Store", arguments: Arguments) -> MailRecipient:
    account = find_account(store, arguments.account)
    known = store.recipients.list_recipients(account.id)
    wanted = arguments.recipient
    for one in known:
        if wanted in (str(one.id), one.address):
            return one
    names = ", ".join(f"{one.address} ({one.id})" for one in known)
    if not names:
        raise OperatorError(
            f"Account {account.id} has no recipient; add one with `treadle recipient add ADDRESS`."
        )
    raise OperatorError(f"Account {account.id} has no recipient {wanted!r}; it has {names}.")


def _tell_whether_sent(config: Config) -> None:
    if config.smtp_url is None:
        print_line(NOT_SENT)


COMMANDS = (
    CliCommand(
        words=("recipient", "list"),
        help="list the addresses that are told of problems by mail",
        run=list_recipients,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("recipient", "add"),
        help="add an address that is told of problems by mail",
        run=add_recipient,
        arguments=_add_arguments,
    ),
    CliCommand(
        words=("recipient", "test"),
        help="send a mail to an address, to see whether mails arrive",
        run=test_recipient,
        arguments=_named_arguments,
    ),
    CliCommand(
        words=("recipient", "disable"),
        help="send nothing to an address until it is enabled",
        run=disable_recipient,
        arguments=_named_arguments,
    ),
    CliCommand(
        words=("recipient", "enable"),
        help="send to an address again",
        run=enable_recipient,
        arguments=_named_arguments,
    ),
    CliCommand(
        words=("recipient", "remove"),
        help="remove an address",
        run=remove_recipient,
        arguments=_named_arguments,
    ),
)
