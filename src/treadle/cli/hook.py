"""`treadle hook ...`: post-load hooks and their deliveries (connect-api.md 2.13)."""

import argparse
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand, UsageError, parse_positive
from treadle.cli.output import print_json, print_line, print_list, print_table, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.store.model import HookDelivery, PostLoadHook
    from treadle.store.store import Store

COLUMNS = (
    "id",
    "account",
    "destination",
    "url",
    "state",
    "signed",
    "waiting",
    "delivered",
    "failed",
)
DELIVERY_COLUMNS = (
    "created",
    "id",
    "source",
    "table",
    "state",
    "tries",
    "status",
    "took_ms",
    "next_try",
    "error",
)
STATES = ("waiting", "delivered", "failed")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account, by id or name")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def list_hooks(config: Config, arguments: Arguments) -> int:
    """List hooks with the state of their deliveries."""
    from treadle.store.model import HookBacklog

    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        found = store.hooks.list_hooks(account.id if account else None)
        backlogs = store.hooks.list_backlogs()
    rows = [
        (
            hook.id,
            hook.account_id,
            hook.destination_id,
            hook.url,
            _name_state(hook),
            "yes" if hook.secret is not None else "no",
            backlogs.get(hook.id, HookBacklog()).waiting,
            hook.delivered,
            hook.failed,
        )
        for hook in found
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="what is called; - reads it from standard input")
    parser.add_argument("--account", metavar="ID", help="its account (default: the only one)")
    parser.add_argument(
        "--destination-id",
        metavar="ID",
        help="after whose loads it is called (default: the only one of the account)",
    )
    parser.add_argument(
        "--secret",
        action="store_true",
        help="sign deliveries with a secret, which is read from standard input",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_hook(config: Config, arguments: Arguments) -> int:
    """Create a hook."""
    from treadle.store.errors import HookLimitError, NotFoundError

    url = _read_url(config, arguments.url)
    secret = _read_secret() if arguments.secret else None
    destination_id = (
        parse_positive("--destination-id", arguments.destination_id)
        if arguments.destination_id
        else None
    )
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        try:
            made = store.hooks.create_hook(account.id, url, destination_id=destination_id)
        except (NotFoundError, HookLimitError) as error:
            raise OperatorError(str(error)) from error
        if secret is not None:
            made = store.hooks.update_hook(account.id, made.id, secret=secret) or made
    if arguments.json:
        print_json(_make_object(made))
    else:
        print_line(
            f"Created hook {made.id}, called after loads into destination {made.destination_id}."
        )
    return 0


def _update_arguments(parser: argparse.ArgumentParser) -> None:
    _add_hook(parser)
    enabled = parser.add_mutually_exclusive_group()
    enabled.add_argument("--enable", action="store_true", help="let it get deliveries again")
    enabled.add_argument("--disable", action="store_true", help="let it get nothing any more")
    paused = parser.add_mutually_exclusive_group()
    paused.add_argument(
        "--pause", action="store_true", help="keep its deliveries until the end of the pause"
    )
    paused.add_argument("--unpause", action="store_true", help="send what was kept")
    parser.add_argument("--url", metavar="URL", help="another URL; - reads it from standard input")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "--secret",
        action="store_true",
        help="sign deliveries with a secret, which is read from standard input",
    )
    secret.add_argument("--no-secret", action="store_true", help="sign them no more")


def update_hook(config: Config, arguments: Arguments) -> int:
    """Enable, disable or pause a hook, or change its URL or its secret."""
    change: dict[str, Any] = {}
    if arguments.enable or arguments.disable:
        change["enabled"] = arguments.enable
    if arguments.pause or arguments.unpause:
        change["paused"] = arguments.pause
    if arguments.url is not None:
        change["url"] = _read_url(config, arguments.url)
    if arguments.secret or arguments.no_secret:
        change["secret"] = _read_secret() if arguments.secret else None
    if not change:
        raise UsageError("Say what is to change: --enable, --disable, --pause, --url, --secret.")
    with _open_hook(config, arguments) as (store, hook):
        changed = store.hooks.update_hook(None, hook.id, **change)
    if changed is None:
        raise OperatorError(f"Hook {hook.id} was deleted.")
    print_line(f"Hook {changed.id} is {_name_state(changed)}.")
    return 0


def delete_hook(config: Config, arguments: Arguments) -> int:
    """Delete a hook with its deliveries."""
    with _open_hook(config, arguments) as (store, hook):
        store.hooks.delete_hook(None, hook.id)
    print_line(f"Deleted hook {hook.id} and its deliveries.")
    return 0


def _deliveries_arguments(parser: argparse.ArgumentParser) -> None:
    _add_hook(parser)
    parser.add_argument("--state", metavar="WORD", help=f"only in this state: {', '.join(STATES)}")
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument(
        "--json", action="store_true", help="print a JSON array of objects, with what was sent"
    )


def list_deliveries(config: Config, arguments: Arguments) -> int:
    """List the deliveries of a hook, newest first."""
    if arguments.state is not None and arguments.state not in STATES:
        raise UsageError(f"--state is to be one of {', '.join(STATES)}, not {arguments.state!r}.")
    limit = parse_positive("--limit", arguments.limit)
    with _open_hook(config, arguments) as (store, hook):
        names = {source.id: source.name for source in store.sources.list_sources()}
        found = store.deliveries.list_deliveries(hook.id, state=arguments.state, limit=limit)
    if arguments.json:
        from treadle.control.hook_responses import render_delivery

        print_json([render_delivery(delivery) for delivery in found])
        return 0
    print_table(DELIVERY_COLUMNS, [_make_row(delivery, names) for delivery in found])
    return 0


def _send_again_arguments(parser: argparse.ArgumentParser) -> None:
    _add_hook(parser)
    parser.add_argument(
        "delivery",
        metavar="DELIVERY",
        nargs="?",
        help="id of the delivery, in whatever state it is (default: all that failed)",
    )


def send_again(config: Config, arguments: Arguments) -> int:
    """Let deliveries be sent again; the running server sends them."""
    with _open_hook(config, arguments) as (store, hook):
        count = store.deliveries.send_again(
            hook.account_id, hook.id, delivery_id=arguments.delivery
        )
    if arguments.delivery is not None and not count:
        raise OperatorError(
            f"Hook {hook.id} has no delivery {arguments.delivery!r}; see "
            f"`treadle hook deliveries {hook.id}`."
        )
    sent = count_noun(count, "delivery", "deliveries")
    print_line(f"{sent} of hook {hook.id} {'is' if count == 1 else 'are'} sent again.")
    return 0


def test_hook(config: Config, arguments: Arguments) -> int:
    """Call a hook once with a body that says that it is a test."""
    from treadle.clock import read_clock
    from treadle.control.hook_operations import HookOperations
    from treadle.http.outbound_url import OutboundRules
    from treadle.server.outbound_trials import OutboundTrials

    with _open_hook(config, arguments) as (store, hook):
        account = next(one for one in store.accounts.list_accounts() if one.id == hook.account_id)
        rules = OutboundRules.from_setting(config.hook_urls)
        sender = OutboundTrials(config, store.installation_id)
        found = HookOperations(store, rules).send_test(account, str(hook.id), sender, read_clock())
    if arguments.json:
        print_json(found)
    elif found["error"] is not None:
        raise OperatorError(f"Hook {hook.id} did not answer: {found['error']}.")
    else:
        print_line(f"Hook {hook.id} answered {found['status']} in {found['took_ms']} ms.")
    is_success = found["status"] is not None and 200 <= found["status"] < 300
    return 0 if is_success else 1


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    _add_hook(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, with the answer"
    )


def _add_hook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hook", metavar="HOOK", help="id of the hook")


@contextmanager
def _open_hook(config: Config, arguments: Arguments) -> "Iterator[tuple[Store, PostLoadHook]]":
    """Open the store, and find the hook of the argument HOOK.

    Raises:
        OperatorError: there is no store, or no such hook.
    """
    hook_id = parse_positive("HOOK", arguments.hook)
    with open_existing_store(config) as store:
        found = store.hooks.find_hook(None, hook_id)
        if found is None:
            raise OperatorError(f"There is no hook {hook_id}; see `treadle hook list`.")
        yield store, found


def _read_url(config: Config, given: str) -> str:
    """Return the URL of an argument, checked.

    Raises:
        OperatorError: it is no URL that is called. The text does not repeat it.
    """
    from treadle.http.outbound_url import OutboundRules, UrlRefusedError

    url = sys.stdin.readline().strip() if given == "-" else given
    try:
        OutboundRules.from_setting(config.hook_urls).parse(url)
    except UrlRefusedError as error:
        raise OperatorError(f"This URL cannot be used: {error}.") from error
    return url


def _read_secret() -> str:
    """Return the secret: a line of standard input; at a terminal it is asked for and not shown.

    Raises:
        OperatorError: it is no secret.
    """
    from treadle.control.hook_requests import SECRET

    if sys.stdin.isatty():
        found = getpass.getpass("Secret (not shown): ").strip()
    else:
        found = sys.stdin.readline().strip()
    if not SECRET.fullmatch(found):
        raise OperatorError(
            "The secret on standard input is to be one line of 16 to 256 printable ASCII "
            "characters without blanks."
        )
    return found


def _name_state(hook: "PostLoadHook") -> str:
    if hook.disabled_at is not None:
        return "disabled"
    return "paused" if hook.paused_at is not None else "enabled"


def _make_object(hook: "PostLoadHook") -> dict[str, object]:
    return {
        "id": hook.id,
        "account": hook.account_id,
        "destination": hook.destination_id,
        "url": hook.url,
        "state": _name_state(hook),
        "signed": hook.secret is not None,
    }


def _make_row(delivery: "HookDelivery", names: dict[int, str]) -> tuple[object, ...]:
    waits = delivery.state == "waiting"
    return (
        to_whole_second(delivery.created_at),
        delivery.id,
        names.get(delivery.source_id, delivery.source_id),
        delivery.table_name,
        delivery.state,
        delivery.tries,
        delivery.status,
        None if delivery.took_us is None else delivery.took_us // 1000,
        to_whole_second(delivery.due_at) if waits else None,
        delivery.error,
    )


COMMANDS = (
    CliCommand(
        words=("hook", "list"),
        help="list hooks, with the state of their deliveries",
        run=list_hooks,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("hook", "create"),
        help="create a hook, which is called after each load",
        run=create_hook,
        arguments=_create_arguments,
        settings=("hook_urls",),
    ),
    CliCommand(
        words=("hook", "update"),
        help="enable, disable or pause a hook, or change its URL or its secret",
        run=update_hook,
        arguments=_update_arguments,
        settings=("hook_urls",),
    ),
    CliCommand(
        words=("hook", "delete"),
        help="delete a hook with its deliveries",
        run=delete_hook,
        arguments=_add_hook,
    ),
    CliCommand(
        words=("hook", "deliveries"),
        help="list the deliveries of a hook, newest first",
        run=list_deliveries,
        arguments=_deliveries_arguments,
    ),
    CliCommand(
        words=("hook", "test"),
        help="call a hook once with a body that says that it is a test",
        run=test_hook,
        arguments=_test_arguments,
        settings=("hook_urls",),
    ),
    CliCommand(
        words=("hook", "send-again"),
        help="send deliveries of a hook again",
        run=send_again,
        arguments=_send_again_arguments,
    ),
)
