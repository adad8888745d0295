"""The logs of an installation for commands: `treadle log add`, `list`, `open` and `close`."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand, UsageError, parse_digits, parse_positive
from treadle.cli.output import print_error, print_json, print_line, print_rows, to_whole_second
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError, RetriableError

if TYPE_CHECKING:
    from treadle.log.protocol import LogDirectory, LogInfo, LogState
    from treadle.store.model import StoredLog
    from treadle.store.store import Store
    from treadle.tracking.log_list import ListedLog, LogMeasure, PlacedLog

LOGS_MAX: Final = 64
"""Most logs that are added at once."""

COLUMNS: Final = (
    "log",
    "state",
    "kind",
    "database",
    "sources",
    "entries_waiting",
    "records_waiting",
    "bytes_waiting",
    "oldest_waiting",
    "bytes_used",
    "trouble",
)


def parse_log_count(config: Config, arguments: Arguments) -> int:
    """Return how many logs are to be made.

    Raises:
        UsageError: it is no such number, or no database is named for them.
    """
    if arguments.logs is None:
        return 1
    if config.log is None:
        raise UsageError("--logs says how many logs the database of --log gets: name one.")
    count = parse_positive("--logs", arguments.logs)
    if count > LOGS_MAX:
        raise UsageError(f"--logs is to be at most {LOGS_MAX}, not {count}.")
    return count


def make_first_logs(config: Config, store: "Store", count: int) -> "list[StoredLog]":
    """Make the first logs of an installation where the setting `log` names a database.

    Once there is a log in it, the setting is met: `treadle log add` adds further ones.

    Raises:
        OperatorError: records of the log of the data folder may wait, or the database refuses.
    """
    if config.log is None:
        return []
    from treadle.log.remote_registry import name_remote_place

    place = name_remote_place(config.log)
    known = store.logs.list_logs()
    there = [one for one in known if one.url and name_remote_place(one.url) == place]
    if len(there) >= count:
        return []
    if known and not there:
        raise OperatorError(
            f"the store has {count_noun(len(known), 'log')} already, none of them at {place}; add "
            "one there with `treadle log add`"
        )
    return add_remote_logs(config, store, count - len(there))


def add_remote_logs(config: Config, store: "Store", count: int) -> "list[StoredLog]":
    """Make logs in the database of the setting `log`, and tell the store.

    A log that an earlier attempt made and did not tell the store of is taken as it is.

    Raises:
        OperatorError: the database refuses, or is weaker than `log_durability` says.
        RetriableError: the database is not available now.
    """
    from treadle.log.remote_registry import check_remote_log, find_kind, make_remote_log

    url = config.log or ""
    kind = find_kind(url)
    for warning in check_remote_log(url, config.log_durability):
        print_error(f"Warning: {warning}.")
    added = []
    for _ in range(count):
        number = store.logs.find_next_number()
        log_id = make_remote_log(url, number, store.installation_id)
        added.append(store.logs.add_log(log_id, kind, url, number))
    return added


def describe_logs(added: "Sequence[StoredLog]", done: str) -> str:
    """Return a line about logs that were made."""
    from treadle.log.remote_registry import name_remote_place

    first, last = added[0], added[-1]
    named = f"log {first.number}"
    if first is not last:
        named = f"logs {first.number} to {last.number}"
    return f"{done} {named} at {name_remote_place(first.url)}."


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--logs", metavar="N", help="how many logs are added there (default 1)")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def add_logs(config: Config, arguments: Arguments) -> int:
    """Add logs in the database of `--log`; servers that run take to them within seconds.

    Raises:
        OperatorError: no database is named, it refuses, or the store is a file.
    """
    if config.log is None:
        raise UsageError("Name the database of the new log with --log, or TREADLE_LOG.")
    if config.store is None:
        raise OperatorError(
            "a log on PostgreSQL needs a store on PostgreSQL: the file of this store is of one "
            "machine, which has its log in the data folder; see `treadle init`"
        )
    count = parse_log_count(config, arguments)
    with open_existing_store(config) as store:
        added = add_remote_logs(config, store, count)
    if arguments.json:
        print_rows(("log", "log_id"), [(one.number, one.log_id) for one in added], as_json=True)
    else:
        print_line(describe_logs(added, "Added"))
        print_line("New sources go to the open log with the fewest sources.")
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def list_logs(config: Config, arguments: Arguments) -> int:
    """Print a line for each log: where it is, what it takes, who uses it and what waits."""
    from treadle.log.registry import InstallationDirectory
    from treadle.tracking.log_list import describe_logs, place_logs

    with open_existing_store(config) as store:
        directory = InstallationDirectory(config, store.logs)
        logs = place_logs(config, store.logs)
        measures = {one.number: _measure(directory, one) for one in logs}
        rows = [
            _list_values(one) for one in describe_logs(logs, store.logs.count_sources(), measures)
        ]
    print_rows(COLUMNS, rows, as_json=arguments.json)
    return 0


def _measure(directory: "LogDirectory", log: "PlacedLog") -> "LogMeasure":
    """Return what a log holds, or why it cannot be asked."""
    from treadle.tracking.log_list import NOTHING_KEPT, measure_log

    if log.state == "closed":
        return NOTHING_KEPT
    with ExitStack() as stack:
        return measure_log(lambda: stack.enter_context(closing(directory.open_reader(log.number))))


def _list_values(listed: "ListedLog") -> tuple[object, ...]:
    log, found = listed.log, listed.measure
    waiting = found.waiting
    return (
        log.number,
        log.state,
        log.kind,
        log.place,
        listed.sources,
        None if waiting is None else waiting.entries,
        None if waiting is None else waiting.records,
        None if waiting is None else waiting.size,
        None if waiting is None else to_whole_second(waiting.oldest),
        found.used_bytes,
        found.trouble,
    )


def _number_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="LOG", help="its number, as `treadle log list` shows it")


def open_log_again(config: Config, arguments: Arguments) -> int:
    """Let a log that is drained take new sources again.

    Raises:
        OperatorError: there is no such log, or it is closed.
        RetriableError: its database is not available now.
    """
    from treadle.log.protocol import LogState
    from treadle.log.registry import InstallationDirectory

    number = _parse_number(arguments)
    with open_existing_store(config) as store:
        for log in InstallationDirectory(config, store.logs).list_logs():
            if log.number == number and log.state is not LogState.CLOSED:
                # A close that was cut short may have left its database refusing appends.
                _note_remote_state(log, LogState.OPEN)
        store.logs.open_log(number)
    print_line(f"Log {number} takes new sources.")
    return 0


def _close_arguments(parser: argparse.ArgumentParser) -> None:
    _number_argument(parser)
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="close it though records of deleted sources wait there, or its database is lost",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def close_log(config: Config, arguments: Arguments) -> int:
    """Close a log that nothing uses any more; drain it while something does, and return 1.

    It is drained first: no source is put on it while it is looked at.

    Raises:
        OperatorError: there is no such log.
        RetriableError: what waits in it cannot be found out now.
    """
    from treadle.log.protocol import LogState
    from treadle.log.registry import InstallationDirectory

    number = _parse_number(arguments)
    with open_existing_store(config) as store:
        directory = InstallationDirectory(config, store.logs)
        log = next((one for one in directory.list_logs() if one.number == number), None)
        if log is None or not log.log_id:
            raise OperatorError(f"there is no log {number}")
        others = [one for one in directory.list_logs() if one.number != number]
        if log.state is LogState.OPEN and not any(one.state is LogState.OPEN for one in others):
            raise OperatorError(
                f"log {number} is the only one that takes new sources: add another one first, with "
                "`treadle log add`"
            )
        if log.state is LogState.OPEN:
            store.logs.drain_log(number)
        sources = len(store.logs.list_sources_on(number))
        waiting = 0 if log.state is LogState.CLOSED else _count_waiting(directory, log, arguments)
        is_used = sources or (waiting and not arguments.anyway)
        if log.state is not LogState.CLOSED and not is_used:
            waiting = _close_unused_log(store, directory, log, arguments)
        state = next(one.state for one in directory.list_logs() if one.number == number)
    if arguments.json:
        print_json({"log": number, "state": state, "sources": sources, "records_waiting": waiting})
    elif state is LogState.CLOSED:
        print_line(f"Log {number} is closed; nobody opens it any more.")
    else:
        print_line(f"Log {number} takes no new sources. It is closed once nothing uses it:")
        print_line(
            f"{count_noun(sources, 'source')} and {count_noun(waiting, 'waiting record')} do."
        )
    return 0 if state is LogState.CLOSED else 1


def _close_unused_log(
    store: "Store", directory: "LogDirectory", log: "LogInfo", arguments: Arguments
) -> int:
    """Close a drained log, unless something waits in it after all; return how many records wait."""
    from treadle.log.protocol import LogState

    is_closed = False
    try:
        try:
            _note_remote_state(log, LogState.CLOSED)
        except (OperatorError, RetriableError):
            if not arguments.anyway:
                raise
        # Nothing can be appended any more, so this count is the last one.
        waiting = _count_waiting(directory, log, arguments)
        if arguments.anyway or not waiting:
            store.logs.close_log(log.number)
            is_closed = True
    finally:
        if not is_closed:
            # Where this fails, too, the next `log close` or `log open` does it.
            with suppress(OperatorError, RetriableError):
                _note_remote_state(log, LogState.DRAINING)
    return waiting


def _count_waiting(directory: "LogDirectory", log: "LogInfo", arguments: Arguments) -> int:
    """Return how many records wait in a log; 0 where it is to be closed without being asked."""
    try:
        with closing(directory.open_reader(log.number)) as reader:
            return sum(one.records for one in reader.list_backlogs())
    except (OperatorError, RetriableError):
        if arguments.anyway:
            return 0
        raise


def _note_remote_state(log: "LogInfo", state: "LogState") -> None:
    """Have the database of a log refuse appends of whoever has it open, or take them again."""
    from treadle.log.remote_registry import set_remote_state

    if log.url:
        set_remote_state(log, state)


def _parse_number(arguments: Arguments) -> int:
    number = parse_digits(arguments.number)
    if number is None:
        raise OperatorError(f"LOG is to be the number of a log, not {arguments.number!r}.")
    return number


COMMANDS = (
    CliCommand(
        words=("log", "add"),
        help="add logs on PostgreSQL, for new sources",
        run=add_logs,
        arguments=_add_arguments,
        settings=("log", "log_durability"),
    ),
    CliCommand(
        words=("log", "list"),
        help="list the logs: where they are, what they take, what waits",
        run=list_logs,
        arguments=_list_arguments,
    ),
    CliCommand(
        words=("log", "open"),
        help="let a log that is drained take new sources again",
        run=open_log_again,
        arguments=_number_argument,
    ),
    CliCommand(
        words=("log", "close"),
        help="put no new sources on a log, and close it once nothing uses it",
        run=close_log,
        arguments=_close_arguments,
    ),
)
