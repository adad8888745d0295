"""`treadle trail`: lists who changed what."""

import argparse

from treadle.cli.command import Arguments, CliCommand, UsageError, parse_positive
from treadle.cli.output import print_rows, to_whole_second
from treadle.cli.store_access import find_account, open_existing_store
from treadle.cli.time_argument import parse_time
from treadle.config import Config
from treadle.store.trail_event import TrailAction, TrailEvent, TrailOutcome

COLUMNS = ("id", "at", "actor", "address", "account", "action", "target", "outcome", "detail")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account, by id or name")
    parser.add_argument("--action", metavar="WORD", help="only of this action, as create_source")
    parser.add_argument(
        "--outcome", metavar="WORD", help=f"only with this outcome: {', '.join(TrailOutcome)}"
    )
    parser.add_argument("--since", metavar="TIME", help="only at or after this time")
    parser.add_argument("--until", metavar="TIME", help="only before this time")
    parser.add_argument("--limit", metavar="N", default="100", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def print_trail(config: Config, arguments: Arguments) -> int:
    """List events, newest first."""
    _check_word("--action", arguments.action, list(TrailAction))
    _check_word("--outcome", arguments.outcome, list(TrailOutcome))
    limit = parse_positive("--limit", arguments.limit)
    since, until = parse_time("--since", arguments.since), parse_time("--until", arguments.until)
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        events = store.trail.list_events(
            account_id=account.id if account else None,
            action=arguments.action,
            outcome=arguments.outcome,
            since=since,
            until=until,
            limit=limit,
        )
    print_rows(COLUMNS, [_make_row(event) for event in events], as_json=arguments.json)
    return 0


def _check_word(flag: str, word: str | None, known: list[str]) -> None:
    """Check that a word is one of a closed list.

    Raises:
        UsageError: it is none of them.
    """
    if word is not None and word not in known:
        raise UsageError(f"{flag} is to be one of {', '.join(known)}, not {word!r}.")


def _make_row(event: TrailEvent) -> tuple[object, ...]:
    actor, target = event.actor, event.target
    return (
        event.id,
        to_whole_second(event.at),
        actor.kind.value if actor.id is None else f"{actor.kind.value} {actor.id}",
        actor.address,
        event.account_id,
        event.action,
        " ".join(str(part) for part in (target.kind.value, target.id, target.name) if part),
        event.outcome,
        dict(event.detail) or None,
    )


COMMAND = CliCommand(
    words=("trail",),
    help="list who changed what, newest first",
    run=print_trail,
    arguments=_arguments,
)
