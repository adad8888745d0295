"""`treadle log stats`, `verify`, `cat` and `salvage`: look into the log, and mend it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from treadle.cli.command import Arguments, Command
from treadle.cli.output import plain, print_json, print_objects, print_table
from treadle.cli.store import opened, source_named
from treadle.config import Config
from treadle.errors import OperatorFault, TreadleError
from treadle.log.protocol import Damaged, Entry, Reader
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


def stats(config: Config, arguments: Arguments) -> int:
    """Print what waits, by table."""
    names = _names(config)
    with closing(_reader(config)) as reader:
        rows = [
            (
                names.get(one.source_id, one.source_id),
                one.table_name,
                one.entries,
                one.records,
                one.size,
                one.loaded,
            )
            for one in sorted(reader.backlog(), key=lambda one: (one.source_id, one.table_name))
        ]
        space = reader.space()
    if arguments.json:
        print_objects(COLUMNS, rows)
        return 0
    print_table(COLUMNS, rows)
    print(f"The log holds {space.used} bytes and can grow by {space.free}.")
    return 0


def verify(config: Config, arguments: Arguments) -> int:
    """Read every entry and say which are damaged; 2 when any is."""
    from treadle.log.salvage import Known, trouble
    from treadle.log.verify import verify as verdict_on

    _check(config)
    why = trouble(config.log_path, Known(), whole=True)
    if why is not None:
        raise OperatorFault(
            f"the log {config.log_path} is damaged ({why}); stop treadle and run `treadle log "
            "salvage`, or start treadle again: both put it aside and go on with what can be read"
        )
    with closing(_reader(config)) as reader:
        found = verdict_on(reader)
    for one in found.damaged:
        print(
            f"entry {one.position} of {one.table_name!r}, source {one.source_id}, is damaged and "
            f"will be left out: {one.why}"
        )
    print(f"{found.sound} entries are sound, {len(found.damaged)} are damaged.")
    return 2 if found.damaged else 0


def _cat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="only of the source with this name or id")
    parser.add_argument("--table", metavar="NAME", help="only of this table, as named in pushes")
    parser.add_argument("--from", dest="first", metavar="POSITION", help="begin at this position")
    parser.add_argument("--to", dest="last", metavar="POSITION", help="end after this position")
    parser.add_argument(
        "--waiting", action="store_true", help="only what the log takes for not loaded yet"
    )
    parser.add_argument(
        "--records", action="store_true", help="print the records too, each on a line of its own"
    )


def cat(config: Config, arguments: Arguments) -> int:
    """Print entries, or their records, as one JSON object a line; 2 when any is damaged."""
    _check(config)
    first = _position(arguments.first, "--from") or 1
    last = _position(arguments.last, "--to")
    names = _names(config)
    wanted = None if arguments.source is None else _source_id(config, arguments.source)
    damaged = False
    with closing(_reader(config)) as reader:
        waits_after = {(b.source_id, b.table_name): b.loaded for b in reader.backlog()}
        for source_id, table_name in sorted(reader.tables()):
            if wanted not in (None, source_id) or arguments.table not in (None, table_name):
                continue
            loaded = waits_after.get((source_id, table_name))
            for one in _between(reader, source_id, table_name, first, last):
                waiting = loaded is not None and one.position > loaded
                if arguments.waiting and not waiting:
                    continue
                head = {"position": one.position, "source": names.get(source_id, source_id)}
                damaged = damaged or isinstance(one, Damaged)
                lines = _records(one) if arguments.records else [_described(one, waiting=waiting)]
                for line in lines:
                    print_json(head | {"table": table_name} | line)
    return 2 if damaged else 0


def _between(
    reader: Reader, source_id: int, table_name: str, first: int, last: int | None
) -> Iterator[Entry | Damaged]:
    from treadle.log.verify import every

    for one in every(reader, source_id, table_name, first - 1):
        if last is not None and one.position > last:
            return
        yield one


def _described(one: Entry | Damaged, *, waiting: bool) -> dict[str, Any]:
    if isinstance(one, Damaged):  # its numbers mean nothing
        return {"waiting": waiting, "damaged": one.why}
    return {
        "received_at": plain(to_datetime(one.received_at)),
        "records": one.records,
        "bytes": len(one.payload),
        "waiting": waiting,
    }


def _records(one: Entry | Damaged) -> Iterator[dict[str, Any]]:
    """What an entry holds: its records and, in their places, the table versions it activates."""
    import msgspec

    from treadle.records.message import unpack
    from treadle.records.reading import texts

    if isinstance(one, Damaged):
        yield {"damaged": one.why}
        return
    batch = unpack(one.payload)
    activations = list(batch.activations)
    versions = batch.versions
    for index, text in enumerate(texts(batch, range(len(batch)))):
        while activations and activations[0][0] <= index:
            yield {"activate_version": activations.pop(0)[1]}
        version = versions if isinstance(versions, int) else versions[index]
        yield {
            "record": index,
            "sequence": batch.sequences[index],
            "key_names": batch.key_names,
            **({"version": version} if version else {}),
            # As sent, but on one line: within a string JSON has these only as escapes.
            "data": msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode()),
        }
    for _, version in activations:
        yield {"activate_version": version}


def _salvage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="write the log anew even where no damage is found, as after an older copy came back",
    )


def salvage(config: Config, arguments: Arguments) -> int:
    """Put a damaged log aside and go on with what can be read of it, as a start of treadle does."""
    from treadle.lock import take
    from treadle.log import salvage as repair
    from treadle.server.prepare import known_of_log

    _check(config)
    lock = take(config.lock_path, 0.0)
    try:
        # Without a store nobody remembers the log, and its own notes are all there is.
        known = known_of_log(config) if config.store_path.exists() else repair.Known()
        why = repair.trouble(config.log_path, known, whole=True)
        if why is None and not arguments.anyway:
            print("The log's structure is sound; nothing was done. `treadle log verify` reads it.")
            return 0
        found = repair.salvage(config.log_path, known, why or "written anew by hand")
    finally:
        os.close(lock)
    text = found.sentence()
    print(f"{text[0].upper()}{text[1:]}.")
    return 0


def _reader(config: Config) -> Reader:
    from treadle.log.local import LocalReader

    _check(config)
    return LocalReader(config.log_path)


def _check(config: Config) -> None:
    if not config.log_path.exists():
        raise OperatorFault(f"There is no log in {config.data}; name its folder with --data.")


def _position(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise OperatorFault(f"{flag} is to be a position, a whole number, not {text!r}.")
    return int(text)


def _names(config: Config) -> dict[int, str]:
    """Names of sources; none where the store cannot be used, which is when a log is looked into."""
    try:
        with opened(config) as store:
            return {source.id: source.name for source in store.sources()}
    except TreadleError:
        return {}


def _source_id(config: Config, wanted: str) -> int:
    if wanted.isascii() and wanted.isdigit():
        return int(wanted)
    with opened(config) as store:
        return source_named(store, None, wanted).id


COMMANDS = (
    Command(
        words=("log", "stats"),
        help="show what waits in the log, by table",
        run=stats,
        arguments=_stats_arguments,
    ),
    Command(
        words=("log", "verify"),
        help="read the whole log and name what is damaged",
        run=verify,
    ),
    Command(
        words=("log", "cat"),
        help="print entries of the log, or their records, as one JSON object a line",
        run=cat,
        arguments=_cat_arguments,
    ),
    Command(
        words=("log", "salvage"),
        help="put a damaged log aside and go on with what can be read of it; not beside a server",
        run=salvage,
        arguments=_salvage_arguments,
    ),
)
