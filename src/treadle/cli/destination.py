"""`treadle destination ...`: the databases that rows are loaded into."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from treadle.cli.command import Arguments, CliCommand, UsageError, print_warning
from treadle.cli.output import ask_user, print_json, print_line, print_list, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.config import Config, OperatorWarning, mask_password
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.store.destinations import DestinationPlace
    from treadle.store.model import ConfiguredDestination
    from treadle.store.store import Store

COLUMNS = ("id", "name", "type", "place", "default", "set_by", "stitch_client_id", "created_at")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_destinations(config: Config, arguments: Arguments) -> int:
    """List the destinations that are not deleted."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        found = store.destinations.list_destinations(account.id if account else None)
        defaults = {each.destination_id for each in store.accounts.list_accounts()}
    rows = [
        (
            row.id,
            row.name,
            row.type,
            _name_place(row.url),
            row.id in defaults,
            row.set_by,
            row.account_id,
            to_whole_second(row.created_at),
        )
        for row in found
        if row.deleted_at is None
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def _add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wanted", metavar="DESTINATION", help="id or name of the destination")
    parser.add_argument("--account", metavar="ID", help="account of it (default: any)")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _add_destination(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show_destination(config: Config, arguments: Arguments) -> int:
    """Show a destination, its sources and what is wrong with it, without credentials."""
    with open_existing_store(config) as store:
        row = find_destination(store, arguments.account, arguments.wanted)
        _print_destination(config, store, row, as_json=arguments.json)
    return 0


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", help="URL of the database, without a password")
    parser.add_argument(
        "--url-file", metavar="FILE", help="file that holds the URL; - is standard input"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument("--name", help="its name for people")
    parser.add_argument("--description", help="what it is for")
    parser.add_argument(
        "--ignore-unmapped-sources",
        action="store_true",
        help="no source loads into it by itself, and it is not the default",
    )
    _add_url(parser)


def create_destination(config: Config, arguments: Arguments) -> int:
    """Make a destination. Sources without one load into it, after its first check."""
    place = _read_place(arguments)
    if place is None:
        raise UsageError("Say where it is, with --url or --url-file.")
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        row = store.destinations.create_destination(
            account.id,
            place,
            name=arguments.name,
            description=arguments.description,
            takes_sources=not arguments.ignore_unmapped_sources,
        )
        _print_destination(config, store, row, as_json=arguments.json)
    return 0


def _update_arguments(parser: argparse.ArgumentParser) -> None:
    _add_destination(parser)
    parser.add_argument("--name", help="a new name for people")
    role = parser.add_mutually_exclusive_group()
    role.add_argument(
        "--role-url-file",
        metavar="FILE",
        help="file that holds the URL of PostgreSQL, MySQL, ClickHouse, Redshift or Snowflake with "
        "the role that runs the statements of the account; - is standard input",
    )
    role.add_argument(
        "--no-role-url", action="store_true", help="take that role away from the destination"
    )
    _add_url(parser)


def update_destination(config: Config, arguments: Arguments) -> int:
    """Give a destination another URL or name; the loader follows at once."""
    place = _read_place(arguments)
    names_role = arguments.role_url_file is not None or arguments.no_role_url
    if place is None and arguments.name is None and not names_role:
        raise UsageError("Say what is new, with --name, --url, --url-file or --role-url-file.")
    role_url = None if arguments.role_url_file is None else _read_query_url(arguments)
    with open_existing_store(config) as store:
        row = find_destination(store, arguments.account, arguments.wanted)

        def rewrite(present: "ConfiguredDestination") -> "DestinationPlace":
            if place is not None and place.type != present.type:
                raise OperatorError(
                    f"The destination {present.name} is of the type {present.type}, which stays; "
                    f"make one of the type {place.type} with `treadle destination create`."
                )
            return _keep_place(present) if place is None else place

        changed = row
        if place is None and arguments.name is not None:
            rewrite(row)  # imports the driver, for which the locked store would have to wait
        if place is not None or arguments.name is not None:
            changed = store.destinations.update_destination(
                row.account_id, row.id, rewrite, name=arguments.name
            )
        if names_role:
            _require_role_type(changed, role_url)
            changed = store.destinations.set_query_url(changed.id, role_url)
        _print_destination(config, store, changed, as_json=arguments.json)
    return 0


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    _add_destination(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def delete_destination(config: Config, arguments: Arguments) -> int:
    """Delete a destination. Its records wait for another one; its tables stay."""
    with open_existing_store(config) as store:
        row = find_destination(store, arguments.account, arguments.wanted)
        if not arguments.yes:
            if not sys.stdin.isatty():
                raise OperatorError(
                    f"Deleting the destination {row.name} cannot be undone; add --yes to do it."
                )
            asked = ask_user(f"Delete the destination {row.name} ({row.id}) for good? [y/N] ")
            if asked.strip().lower() not in ("y", "yes"):
                return 0
        store.destinations.delete_destination(row.account_id, row.id)
    print_line(
        f"Deleted destination {row.name} ({row.id}); its tables stay, and what its sources send "
        "waits for another one."
    )
    return 0


def _read_place(arguments: Arguments) -> "DestinationPlace | None":
    """Return the place that the flags name; None where they name none."""
    from treadle.destinations.registry import make_destination
    from treadle.store.destinations import DestinationPlace
    from treadle.store.model import DestinationSetter

    if arguments.url is not None and arguments.url_file is not None:
        raise UsageError("--url and --url-file are one choice; keep one of them.")
    url = arguments.url
    if url is not None and mask_password(url) != url:
        print_warning(
            OperatorWarning(
                "The flag --url holds a secret.",
                "Every user of this machine can read it in the list of processes.",
                "Give it in a file, with --url-file.",
            )
        )
    if arguments.url_file is not None:
        url = _read_url(arguments.url_file)
    if url is None:
        return None
    destination = make_destination(url)
    # The name of a file is relative to where the command runs, and the server runs elsewhere.
    if destination.kind == "duckdb" and destination.file is not None:
        url = "duckdb://" + quote(str(destination.file))
    return DestinationPlace(
        destination.kind, url, destination.identity, DestinationSetter.OPERATOR, ("url",)
    )


def _read_query_url(arguments: Arguments) -> str:
    """Return the URL in the file of the flag `--role-url-file`.

    Raises:
        OperatorError: it cannot be read, or is no URL of a database.
    """
    from treadle.destinations.registry import make_destination

    if arguments.url_file == arguments.role_url_file == "-":
        raise UsageError("Standard input holds one URL; name a file for the other one.")
    url = _read_url(arguments.role_url_file)
    make_destination(url)  # says what is wrong with it
    return url


def _require_role_type(row: "ConfiguredDestination", role_url: str | None) -> None:
    """Check that a role that runs statements is one of the database of a destination.

    Raises:
        OperatorError: it is not.
    """
    from treadle.destinations.known_kinds import ROLE_TYPES
    from treadle.destinations.registry import find_type

    if row.type not in ROLE_TYPES:
        raise OperatorError(
            f"The destination {row.name} is of the type {row.type}, which has no roles."
        )
    if role_url is not None and find_type(role_url) != row.type:
        raise OperatorError(
            f"The role that runs statements has to be one of the type {row.type}, as the "
            f"destination {row.name}; the file has {_name_place(role_url)}."
        )


def _read_url(name: str) -> str:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).expanduser().read_text("utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: of `~`
        raise OperatorError(f"The file {name} cannot be read: {error}.") from None
    return text.strip()


def _keep_place(row: "ConfiguredDestination") -> "DestinationPlace":
    from treadle.destinations.registry import make_destination
    from treadle.store.destinations import DestinationPlace
    from treadle.store.model import DestinationSetter

    identity = make_destination(row.url).identity
    return DestinationPlace(row.type, row.url, identity, DestinationSetter(row.set_by))


def find_destination(
    store: "Store", account_name: str | None, wanted: str
) -> "ConfiguredDestination":
    """Return the destination with an id or name.

    Args:
        store: that knows it.
        account_name: id or name of its account; None for any.
        wanted: its id or name.

    Raises:
        OperatorError: there is no such, or several have the name.
    """
    account = find_account(store, account_name) if account_name else None
    rows = [
        row
        for row in store.destinations.list_destinations(account.id if account else None)
        if row.deleted_at is None
    ]
    chosen = [row for row in rows if str(row.id) == wanted] or [
        row for row in rows if row.name == wanted
    ]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(f"{row.name} ({row.id})" for row in chosen or rows)
    if chosen:
        raise OperatorError(f"Several destinations have the name {wanted!r}, give an id: {names}.")
    if not names:
        raise OperatorError(
            "There is no destination yet; the first start of the server makes one, or make one "
            "with `treadle destination create`."
        )
    raise OperatorError(f"There is no destination {wanted!r}; there is {names}.")


def _print_destination(
    config: Config, store: "Store", row: "ConfiguredDestination", *, as_json: bool
) -> None:
    from treadle.destinations.form_registry import find_form
    from treadle.destinations.service_proof import describe_proof

    form = find_form(row.type, config.duckdb_path)
    hidden = {each.name for each in form.properties if each.is_credential}
    properties = {
        name: value for name, value in form.read_url(row.url).items() if name not in hidden
    }
    of_source = store.destinations.list_ids_by_source()
    account = next(each for each in store.accounts.list_accounts() if each.id == row.account_id)
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "type": row.type,
        "place": _name_place(row.url),
        "properties": properties,
        "description": row.description,
        "default": account.destination_id == row.id,
        "set_by": row.set_by,
        "checked": row.usable_since is not None,
        "stitch_client_id": row.account_id,
        "sources": [
            source.name
            for source in store.sources.list_sources(row.account_id)
            if source.deleted_at is None and of_source.get(source.id) == row.id
        ],
        "trouble": row.trouble,
        "proof": describe_proof(row.type),
        "query_url": None if row.query_url is None else _name_place(row.query_url),
    }
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        if name == "properties":
            for each, text in value.items():
                print_line(f"{each}: {text}")
        elif isinstance(value, list):
            print_line(f"{name}: {', '.join(value)}")
        elif value is not None:
            print_line(f"{name}: {str(value).lower() if isinstance(value, bool) else value}")


def _name_place(url: str) -> str:
    """Return the name of a URL's database without secrets, also if its driver is not installed."""
    from treadle.destinations.registry import make_destination

    try:
        return make_destination(url).identity
    except OperatorError:
        return mask_password(url)


COMMANDS = (
    CliCommand(
        words=("destination", "list"),
        help="list the destinations",
        run=list_destinations,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("destination", "show"),
        help="show a destination, its sources and its trouble",
        run=show_destination,
        arguments=_show_arguments,
    ),
    CliCommand(
        words=("destination", "create"),
        help="make a destination",
        run=create_destination,
        arguments=_create_arguments,
    ),
    CliCommand(
        words=("destination", "update"),
        help="give a destination another URL or name",
        run=update_destination,
        arguments=_update_arguments,
    ),
    CliCommand(
        words=("destination", "delete"),
        help="delete a destination; its tables stay",
        run=delete_destination,
        arguments=_delete_arguments,
    ),
)
