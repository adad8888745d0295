"""`treadle log ...`: reads the log (`stats`, `verify`, `cat`) and repairs it (`salvage`)."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from treadle.cli.command import Arguments, CliCommand, parse_digits
from treadle.cli.output import print_json, print_line, print_objects, print_table
from treadle.cli.result_text import to_json_value
from treadle.cli.store_access import (
    find_source,
    open_existing_store,
    require_log,
)
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError, TreadleError
from treadle.log.joined import join_spaces
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader
from treadle.log.registry import find_damage, list_log_files, open_folder, open_remote_logs
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.text import format_bytes
from treadle.timestamps import to_datetime

COLUMNS: Final = (
    "source",
    "table",
    "entries_waiting",
    "records_waiting",
    "bytes_waiting",
    "loaded_up_to",
)


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def print_log_stats(config: Config, arguments: Arguments) -> int:
    """Print what waits in the log, by table."""
    names = _read_source_names(config)
    with _open_logs(config) as readers:
        rows = [
            (
                names.get(one.source_id, one.source_id),
                one.table_name,
                one.entries,
                one.records,
                one.size,
                one.loaded,
            )
            for one in sorted(
                (one for reader in readers.values() for one in reader.list_backlogs()),
                key=lambda one: (one.source_id, one.table_name),
            )
        ]
        space = join_spaces([reader.statistics.measure_space() for reader in readers.values()])
    if arguments.json:
        print_objects(COLUMNS, rows)
        return 0
    print_table(COLUMNS, rows)
    free = "" if space.free_bytes is None else f", {format_bytes(space.free_bytes)} free"
    print_line(f"{format_bytes(space.used_bytes)} used{free}.")
    return 0


def verify_log(config: Config, arguments: Arguments) -> int:
    """Read every entry and print those that are damaged; return 2 if there are any."""
    from treadle.log.salvage_report import KnownLog
    from treadle.log.verification import verify_log as verdict_on

    require_log(config)
    for number, path in list_log_files(config).items():
        why = find_damage(config, KnownLog(), number, whole=True)
        if why is not None:
            raise OperatorError(
                f"the log {path} is damaged ({why}); stop treadle and run `treadle log salvage`, "
                "or start treadle again: both put it aside and go on with what can be read"
            )
    with _open_logs(config) as readers:
        verdicts = {number: verdict_on(reader) for number, reader in readers.items()}
    names = _read_source_names(config)
    sound = damaged = 0
    for number, found in verdicts.items():
        sound += found.sound_entries
        damaged += len(found.damaged_entries)
        for one in found.damaged_entries:
            source = names.get(one.source_id, one.source_id)
            log = f" of log {number}" if number else ""
            print_line(
                f"entry {one.position}{log} of {one.table_name!r}, source {source}, is damaged and "
                f"will be left out: {one.why}"
            )
    print_line(
        f"{count_noun(sound, 'entry', 'entries')} {'is' if sound == 1 else 'are'} sound, "
        f"{damaged:,} {'is' if damaged == 1 else 'are'} damaged."
    )
    return 2 if damaged else 0


def _cat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--from", dest="first", metavar="POSITION", help="begin at this position")
    parser.add_argument("--to", dest="last", metavar="POSITION", help="end after this position")
    parser.add_argument(
        "--waiting",
        action="store_true",
        help="only what is not loaded yet, as far as the log knows",
    )
    parser.add_argument(
        "--records", action="store_true", help="print the records too, each on a line of its own"
    )


def print_entries(config: Config, arguments: Arguments) -> int:
    """Print entries, or their records, as one JSON object a line; return 2 if one is damaged."""
    require_log(config)
    first = _parse_position(arguments.first, "--from") or 1
    last = _parse_position(arguments.last, "--to")
    names = _read_source_names(config)
    wanted = None if arguments.source is None else _find_source_id(config, arguments.source)
    damaged = False
    with _open_logs(config) as readers:
        for number, reader in readers.items():
            log = {"log": number} if number else {}
            waits_after = {(b.source_id, b.table_name): b.loaded for b in reader.list_backlogs()}
            for source_id, table_name in sorted(reader.statistics.list_tables()):
                if wanted not in (None, source_id) or arguments.table not in (None, table_name):
                    continue
                loaded = waits_after.get((source_id, table_name))
                for one in _read_between(reader, source_id, table_name, first, last):
                    waiting = loaded is not None and one.position > loaded
                    if arguments.waiting and not waiting:
                        continue
                    head = {"position": one.position, "source": names.get(source_id, source_id)}
                    damaged = damaged or isinstance(one, DamagedEntry)
                    lines = (
                        _describe_records(one)
                        if arguments.records
                        else [_describe_entry(one, waiting=waiting)]
                    )
                    for line in lines:
                        print_json(log | head | {"table": table_name} | line)
    return 2 if damaged else 0


@contextmanager
def _open_logs(config: Config) -> Iterator[dict[int, LogReader]]:
    """Open the logs by number; the store may be lost, and with it those of other machines."""
    require_log(config)
    with ExitStack() as stack:
        readers = open_folder(config)
        for reader in readers.values():
            stack.callback(reader.close)
        if config.store is not None:
            with open_existing_store(config) as store:
                remote = open_remote_logs(config, store.logs)
            for reader in remote.values():
                stack.callback(reader.close)
            readers |= remote
        if not readers:
            raise OperatorError(f"There is no log in {config.data}, and the store knows no other.")
        yield readers


def _read_between(
    reader: LogReader, source_id: int, table_name: str, first: int, last: int | None
) -> Iterator[LogEntry | DamagedEntry]:
    from treadle.log.verification import read_all_entries

    for one in read_all_entries(reader, source_id, table_name, first - 1):
        if last is not None and one.position > last:
            return
        yield one


def _describe_entry(one: LogEntry | DamagedEntry, *, waiting: bool) -> dict[str, Any]:
    if isinstance(one, DamagedEntry):  # its other fields are not reliable
        return {"waiting": waiting, "damaged": one.why}
    return {
        "received_at": to_json_value(to_datetime(one.received_at)),
        "records": one.records,
        "bytes": len(one.payload),
        "waiting": waiting,
    }


def _describe_records(one: LogEntry | DamagedEntry) -> Iterator[dict[str, Any]]:
    """Yield the records of an entry and, between them, the table versions that it activates."""
    import msgspec

    from treadle.records.message_batch import decode_batch
    from treadle.records.record_reader import extract_texts

    if isinstance(one, DamagedEntry):
        yield {"damaged": one.why}
        return
    batch = decode_batch(one.payload)
    activations = list(batch.activations)
    versions = batch.versions
    for index, text in enumerate(extract_texts(batch, range(len(batch)))):
        while activations and activations[0][0] <= index:
            yield {"activate_version": activations.pop(0)[1]}
        version = versions if isinstance(versions, int) else versions[index]
        yield {
            "record": index,
            "sequence": batch.sequences[index],
            "key_names": batch.key_names,
            **({"version": version} if version else {}),
            # As sent, but on one line. Inside a string, JSON has line breaks only as escapes.
            "data": msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode()),
        }
    for _, version in activations:
        yield {"activate_version": version}


def _salvage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="rewrite the log even if no damage is found, as after an older copy was restored",
    )


def salvage_log(config: Config, arguments: Arguments) -> int:
    """Put a damaged log aside and continue with what can be read, as a server's start does."""
    from treadle.data_lock import take_lock
    from treadle.log import registry
    from treadle.log.salvage_report import KnownLog
    from treadle.server.startup import read_known_logs

    require_log(config)
    lock = take_lock(config.lock_path, 0.0)
    try:
        # Without a store, what the logs themselves say of loaded positions is all there is.
        known = read_known_logs(config) if config.has_store() else {}
        files = list_log_files(config)
        if not files:
            raise OperatorError(
                f"There is no log in {config.data}. One on PostgreSQL is mended there: from a "
                "standby, or a backup."
            )
        reasons = {
            number: find_damage(config, known.get(number, KnownLog()), number, whole=True)
            for number in files
        }
        chosen = [number for number in files if arguments.anyway or reasons[number] is not None]
        for number in chosen:
            with _record_salvage(config):
                found = registry.salvage_log(
                    config, known.get(number, KnownLog()), reasons[number] or "", number
                )
            text = found.describe()
            print_line(f"{text[0].upper()}{text[1:]}.")
    finally:
        os.close(lock)
    if not chosen:
        print_line("The log's structure is sound; nothing was done. `treadle log verify` reads it.")
    return 0


@contextmanager
def _record_salvage(config: Config) -> Iterator[None]:
    """Record a salvage in the trail; there is none where the store is lost too."""
    if not config.has_store():
        yield
        return
    with (
        open_existing_store(config) as store,
        store.trail.follow_action(TrailAction.SALVAGE_LOG, TrailTarget(TargetKind.LOG)),
    ):
        yield


def _parse_position(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    position = parse_digits(text)
    if position is None:
        raise OperatorError(f"{flag} is to be a position, a whole number, not {text!r}.")
    return position


def _read_source_names(config: Config) -> dict[int, str]:
    """Return the names of sources; none if the store cannot be used, as after damage."""
    try:
        with open_existing_store(config) as store:
            return {source.id: source.name for source in store.sources.list_sources()}
    except TreadleError:
        return {}


def _find_source_id(config: Config, wanted: str) -> int:
    number = parse_digits(wanted)
    if number is not None:
        return number
    with open_existing_store(config) as store:
        return find_source(store, None, wanted).id


COMMANDS = (
    CliCommand(
        words=("log", "stats"),
        help="show what waits in the log, by table",
        run=print_log_stats,
        arguments=_stats_arguments,
    ),
    CliCommand(
        words=("log", "verify"),
        help="read the whole log and name what is damaged",
        run=verify_log,
    ),
    CliCommand(
        words=("log", "cat"),
        help="print entries of the log, or their records, as one JSON object a line",
        run=print_entries,
        arguments=_cat_arguments,
    ),
    CliCommand(
        words=("log", "salvage"),
        help="put a damaged log aside and continue with what can be read of it; without a server",
        run=salvage_log,
        arguments=_salvage_arguments,
    ),
)
