"""`treadle apply` and `treadle export`: what operators set, as a file."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import ask_user, print_json, print_line, print_text
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.maintenance.declaration.plan import PlannedChange, ValueChange

SECRET = "(secret)"  # noqa: S105 - what is shown in place of one


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="TOML; - reads it from standard input")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="show the changes; change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def apply_file(config: Config, arguments: Arguments) -> int:
    """Show what differs from a file, and change it. What the file does not name stays."""
    from treadle.cli.declaration_store import DeclarationApplier, complete_urls, read_present
    from treadle.http.outbound_url import OutboundRules, UrlRefusedError
    from treadle.maintenance.declaration.document import parse_declaration
    from treadle.maintenance.declaration.plan import plan_changes

    if arguments.json and not (arguments.yes or arguments.dry_run):
        raise UsageError("--json asks nobody: add --yes or --dry-run.")
    wanted = complete_urls(parse_declaration(_read_file(arguments.file), os.environ))
    rules = OutboundRules.from_setting(config.hook_urls)

    def check_hook_url(url: str) -> None:
        try:
            rules.parse(url)
        except UrlRefusedError as error:
            raise OperatorError(f"its url cannot be used: {error}") from None

    if arguments.dry_run and not config.has_store():
        _report(plan_changes(wanted, ()), arguments, is_applied=False)
        return 0
    with open_existing_store(config, make=True) as store:
        changes = plan_changes(wanted, read_present(store, config.duckdb_path))
        applier = DeclarationApplier(store, config.duckdb_path, check_hook_url)
        for change in changes:
            applier.check(change)
        is_applied = bool(changes) and not arguments.dry_run
        _report(changes, arguments, is_applied=is_applied)
        if is_applied and not arguments.yes and not _confirm(len(changes)):
            return 0
        if is_applied:
            for change in changes:
                applier.carry_out(change)
            if not arguments.json:
                print_line(f"Done: {_count(len(changes))}.")
    return 0


def _report(changes: "list[PlannedChange]", arguments: Arguments, *, is_applied: bool) -> None:
    if arguments.json:
        print_json({"changes": list(map(render_change, changes)), "applied": is_applied})
        return
    for line in describe_plan(changes):
        print_line(line)


def export(config: Config, arguments: Arguments) -> int:
    """Print what is there as a file for `treadle apply`, without secrets."""
    from treadle.cli.declaration_store import choose_exported, read_present
    from treadle.maintenance.declaration.document import render_declaration

    with open_existing_store(config) as store:
        present = read_present(store, config.duckdb_path)
        set_by = {row.id: row.set_by for row in store.destinations.list_destinations()}
    print_text(render_declaration(choose_exported(present, set_by)).rstrip("\n"))
    return 0


def _read_file(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).expanduser().read_text("utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: of `~`
        raise OperatorError(f"The file {name} cannot be read: {error}.") from None


def _confirm(count: int) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError(f"Nothing was changed; add --yes to make {_count(count)}.")
    return ask_user(f"Make {_count(count)}? [y/N] ").strip().lower() in ("y", "yes")


def _count(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"


def describe_plan(changes: "list[PlannedChange]") -> list[str]:
    """Return a line for each item that is made (+) or changed (~), and one for each value."""
    from treadle.cli.declaration_store import describe_item

    if not changes:
        return ["Everything is as the file says; nothing changes."]
    lines = []
    for change in changes:
        lines.append(f"{'+' if change.present is None else '~'} {describe_item(change)}")
        for value in change.values:
            name = ".".join(value.path)
            before, after = _show_values(value)
            if change.present is None:
                lines.append(f"    {name} = {after}")
            else:
                lines.append(f"    {name}: {before} -> {after}")
    return lines


def _show_values(value: "ValueChange") -> tuple[str, str]:
    def show(one: object) -> str:
        return (
            "none"
            if one is None
            else SECRET
            if value.is_secret
            else json.dumps(one, ensure_ascii=False)
        )

    return show(value.before), show(value.after)


def render_change(change: "PlannedChange") -> dict[str, Any]:
    """Return a change as a JSON object; secrets are not in it."""
    from treadle.cli.declaration_store import describe_item

    return {
        "action": "create" if change.present is None else "change",
        "item": describe_item(change),
        "values": [
            {
                "name": ".".join(value.path),
                "before": None if value.is_secret else value.before,
                "after": None if value.is_secret else value.after,
                "secret": value.is_secret,
            }
            for value in change.values
        ],
    }


COMMANDS = (
    CliCommand(
        words=("apply",),
        help="make accounts, sources, destinations, hooks and quotas as a file says",
        run=apply_file,
        arguments=_apply_arguments,
    ),
    CliCommand(
        words=("export",),
        help="print accounts, sources, destinations, hooks and quotas as such a file",
        run=export,
    ),
)
