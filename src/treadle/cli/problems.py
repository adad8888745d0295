"""`treadle problems`: what somebody has to act on."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_line, print_rows, to_whole_second
from treadle.cli.store_access import find_account, open_existing_log, open_existing_store
from treadle.config import Config

if TYPE_CHECKING:
    from treadle.store.store import Store
    from treadle.tracking.problem_kinds import FoundProblem

COLUMNS = ("since", "level", "account", "kind", "with", "said", "what to do")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="only of this account, by id or name")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def find_all_problems(config: Config, store: "Store") -> "list[FoundProblem]":
    """Return the problems of all accounts, the worst first."""
    from treadle.clock import read_clock
    from treadle.log.registry import has_log, make_quota
    from treadle.traces.refusal_file import read_counts
    from treadle.traces.refusals import merge_counts
    from treadle.tracking.problem_finder import RejectionWatch, find_shown_problems, read_server
    from treadle.tracking.problem_kinds import order_problems

    if not has_log(config, store.logs):
        return []  # no server was started yet
    now = read_clock()
    with open_existing_log(config, store) as reader:
        found = find_shown_problems(
            store,
            reader,
            make_quota(config),
            RejectionWatch(),
            now,
            int(config.load_age * 1_000_000),
            merge_counts(read_counts(config.refusals_path, now)),
            read_server(config.counters_path, config.examinations_path, now),
        )
    return order_problems(found)


def print_problems(config: Config, arguments: Arguments) -> int:
    """List the problems that there are now."""
    from treadle.tracking.problem_kinds import SHOWN_KINDS

    with open_existing_store(config) as store:
        account = find_account(store, arguments.account) if arguments.account else None
        found = [
            one
            for one in find_all_problems(config, store)
            if account is None or one.account_id == account.id
        ]
        # A program goes by the number, a person by the name.
        names = (
            {} if arguments.json else {one.id: one.name for one in store.accounts.list_accounts()}
        )
    rows = [
        (
            to_whole_second(one.since or None),
            SHOWN_KINDS[one.kind].level,
            names.get(one.account_id, one.account_id),
            one.kind,
            one.named,
            one.said or None,
            one.remedy or SHOWN_KINDS[one.kind].remedy,
        )
        for one in found
    ]
    if rows or arguments.json:
        print_rows(COLUMNS, rows, as_json=arguments.json)
    else:
        print_line("Nothing to act on.")
    return 0


COMMAND = CliCommand(
    words=("problems",),
    help="list what somebody has to act on, the worst first",
    run=print_problems,
    arguments=_arguments,
)
