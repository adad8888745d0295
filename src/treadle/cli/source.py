"""`treadle source ...`: sources, each of which is pushed into its own schema."""

import argparse
import sys
from typing import Any

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import ask_user, print_json, print_line, print_list, to_whole_second
from treadle.cli.store_access import (
    find_account,
    find_url_of_source,
    open_existing_store,
    open_named_source,
)
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.store.model import Source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

COLUMNS = ("id", "name", "display_name", "type", "state", "stitch_client_id", "created_at")
ADOPTION_COLUMNS = ("table", "columns", "key", "subtables", "cannot_be_adopted")
TABLES_NOTED_MAX = 100
"""The most tables of an adoption that the trail names."""


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("display_name", metavar="DISPLAY_NAME", help="its name for people")
    parser.add_argument("--name", help="name of its schema (default: made from the display name)")
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def create_source(config: Config, arguments: Arguments) -> int:
    """Make a source and a token for it."""
    from treadle.control.schema_names import derive_schema_name, is_schema_name
    from treadle.store.errors import NameTakenError

    wanted = arguments.name
    name = derive_schema_name(arguments.display_name) if wanted is None else wanted
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        if not is_schema_name(name, store.destinations.list_identities(account.id, None)):
            made = "" if wanted is not None else f", made from {arguments.display_name!r},"
            raise OperatorError(
                f"The name {name!r}{made} cannot be a schema: it is to have 1 to 49 of the "
                "characters a-z, 0-9, _ and $, to begin with a letter or _, and not to be one that "
                "a database or treadle keeps for itself; give another one with --name."
            )
        try:
            source = store.sources.create_source(
                account.id,
                type="import_api",
                display_name=arguments.display_name,
                name=name,
                # The token below is made on request, so it must not expire when it is unused
                # (connect-api.md 2.6).
                bootstrap_token=False,
            )
        except NameTakenError:
            raise OperatorError(
                f"There is a source with the name {name!r} already; give another one with --name."
            ) from None
        token = store.tokens.create_token(account.id, source.id)
    if arguments.json:
        made_: dict[str, Any] = {
            "source_id": source.id,
            "name": source.name,
            "display_name": source.display_name,
        }
        if source.schema != source.name:
            made_["schema"] = source.schema
        print_json(
            {"stitch_client_id": account.id}
            | made_
            | {"token_id": token.id, "access_token": token.secret}
        )
    else:
        print_line(f"stitch_client_id: {account.id}")
        print_line(f"source_id: {source.id}")
        print_line(f"name: {source.name}")
        if source.schema != source.name:
            print_line(f"schema: {source.schema} (another account loads into {source.name})")
        print_line(f"access_token: {token.secret}")
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account")
    parser.add_argument("--deleted", action="store_true", help="deleted ones too")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_sources(config: Config, arguments: Arguments) -> int:
    """List the sources."""
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        sources = store.sources.list_sources(account.id if account else None)
    rows = [
        (
            s.id,
            s.name,
            s.display_name,
            s.type,
            describe_state(s),
            s.account_id,
            to_whole_second(s.created_at),
        )
        for s in sources
        if arguments.deleted or s.deleted_at is None
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")


def pause_source(config: Config, arguments: Arguments) -> int:
    """Pause a source: pushes are refused, accepted records still loaded (connect-api.md 4.3)."""
    return _set_pause(config, arguments, read_clock())


def unpause_source(config: Config, arguments: Arguments) -> int:
    """Unpause a source: pushes are accepted again."""
    return _set_pause(config, arguments, None)


def _set_pause(config: Config, arguments: Arguments, paused_at: int | None) -> int:
    with open_named_source(config, arguments) as (store, source):
        changed = store.sources.update_source(source.account_id, source.id, paused_at=paused_at)
    if changed is None:  # deleted by somebody else a moment ago
        raise OperatorError(f"The source {source.name} was deleted.")
    print_line(f"Source {changed.name} ({changed.id}) is {describe_state(changed)}.")
    return 0


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("display_name", metavar="DISPLAY_NAME", help="its new name for people")


def rename_source(config: Config, arguments: Arguments) -> int:
    """Give a source another name for people. That of its schema stays (connect-api.md 4.1)."""
    with open_named_source(config, arguments) as (store, source):
        changed = store.sources.update_source(
            source.account_id, source.id, display_name=arguments.display_name
        )
    if changed is None:  # deleted by somebody else a moment ago
        raise OperatorError(f"The source {source.name} was deleted.")
    print_line(
        f"Source {changed.id} is shown as {changed.display_name!r} now; its schema is still "
        f"{changed.schema}."
    )
    return 0


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def delete_source(config: Config, arguments: Arguments) -> int:
    """Delete a source for good. Its tables stay (connect-api.md 4.3)."""
    with open_named_source(config, arguments) as (store, source):
        if not arguments.yes and not _confirm_deletion(source):
            return 0
        if store.sources.delete_source(source.account_id, source.id) is None:
            raise OperatorError(f"The source {source.name} was deleted already.")
    print_line(f"Deleted source {source.name} ({source.id}); its tables stay.")
    return 0


def _confirm_deletion(source: Source) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError(
            f"Deleting the source {source.name} cannot be undone; add --yes to do it."
        )
    question = f"Delete the source {source.name} ({source.id}) for good? [y/N] "
    return ask_user(question).strip().lower() in ("y", "yes")


def _adopt_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument(
        "table",
        metavar="TABLE",
        nargs="*",
        help="tables to adopt, as named in the destination (default: all that can be)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list them; change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def adopt_tables(config: Config, arguments: Arguments) -> int:
    """Let a source load into a schema and tables that treadle did not make for it."""
    from treadle.destinations.protocol import Session
    from treadle.destinations.registry import make_destination
    from treadle.destinations.retry import open_with_retry
    from treadle.maintenance.adoption import carry_out, plan_adoption

    with open_named_source(config, arguments) as (store, source):
        destination = make_destination(find_url_of_source(store, config, source))

        def attempt() -> Session:
            return destination.preview() if arguments.dry_run else destination.open()

        with open_with_retry(attempt) as session:
            plan = plan_adoption(
                session,
                source,
                store.sources.list_sources(),
                store.installation_id,
                destination.profile,
                arguments.table,
            )
            if not arguments.dry_run:
                with store.trail.follow_action(
                    TrailAction.ADOPT_TABLES,
                    TrailTarget(TargetKind.SOURCE, source.id, source.name),
                    account_id=source.account_id,
                    detail={
                        "schema": plan.schema,
                        "takes_schema": plan.takes_schema,
                        "tables": [table.name for table in plan.tables][:TABLES_NOTED_MAX],
                    },
                ):
                    carry_out(session, plan)
    rows = [
        (
            each.name,
            "" if each.table is None else len(each.table.relations[0].columns),
            "" if each.table is None else ", ".join(key.name for key in each.table.keys),
            "" if each.table is None else ", ".join(r.name for r in each.table.relations[1:]),
            each.reason or "",
        )
        for each in plan.candidates
    ]
    if arguments.json:
        tables = [dict(zip(ADOPTION_COLUMNS, row, strict=True)) for row in rows]
        print_json(
            {
                "source": source.name,
                "schema": plan.schema,
                "takes_schema": plan.takes_schema,
                "tables": tables,
                "adopted": not arguments.dry_run,
            }
        )
        return 0
    would = "would be" if arguments.dry_run else "is"
    if plan.takes_schema:
        held = plan.status.owner
        whose = "nobody's before" if held is None else f"of source {held.source_id} before"
        print_line(f"The schema {plan.schema} {would} the source's ({whose}).")
    else:
        print_line(f"The schema {plan.schema} is the source's already.")
    print_list(ADOPTION_COLUMNS, rows, as_json=False)
    count = len(plan.tables)
    print_line(
        f"{count} table{'' if count == 1 else 's'} {'would be ' if arguments.dry_run else ''}"
        "adopted."
    )
    return 0


def describe_state(source: Source) -> str:
    """Return the state of a source in one word."""
    if source.deleted_at is not None:
        return "deleted"
    return "active" if source.active else "paused"


COMMANDS = (
    CliCommand(
        words=("source", "list"),
        help="list the sources",
        run=list_sources,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("source", "create"),
        help="make a source and print its token",
        run=create_source,
        arguments=_create_arguments,
    ),
    CliCommand(
        words=("source", "pause"),
        help="refuse pushes to a source",
        run=pause_source,
        arguments=_arguments,
    ),
    CliCommand(
        words=("source", "unpause"),
        help="accept pushes to a source again",
        run=unpause_source,
        arguments=_arguments,
    ),
    CliCommand(
        words=("source", "rename"),
        help="give a source another name for people; its schema stays",
        run=rename_source,
        arguments=_rename_arguments,
    ),
    CliCommand(
        words=("source", "adopt"),
        help="let a source load into tables that treadle did not make",
        run=adopt_tables,
        arguments=_adopt_arguments,
    ),
    CliCommand(
        words=("source", "delete"),
        help="delete a source for good; its tables stay",
        run=delete_source,
        arguments=_delete_arguments,
    ),
)
