"""`treadle plan`: what a load of a file would do, without doing it."""

import argparse
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from treadle.cli.batch import Form, batches
from treadle.cli.command import Arguments, Command
from treadle.cli.feed import pieces
from treadle.cli.output import print_json
from treadle.cli.push import only_one, opened_file
from treadle.cli.store import opened, source_named
from treadle.clock import read_clock
from treadle.config import Config
from treadle.destinations.patience import patiently
from treadle.errors import Refused, TableStopped
from treadle.store.model import Source

if TYPE_CHECKING:
    from treadle.destinations.forecast import Forecast
    from treadle.destinations.protocol import Destination
    from treadle.records.message import Batch

RECORDS_MAX = 20_000
"""Records of one request (import-api.md 5)."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="newline-delimited JSON or a JSON array of objects; - is standard input",
    )
    parser.add_argument("--table", required=True, metavar="NAME", help="table to plan for")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="FIELD",
        help="key field; repeat it for a key of several fields (default: no key)",
    )
    parser.add_argument("--source", help="name or id of the source (default: the only active one)")
    parser.add_argument("--sequence-field", metavar="FIELD", help="field with the sequence")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="have the database carry the load out and undo it; locks the table meanwhile",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(config: Config, arguments: Arguments) -> int:
    """Say what a load would do."""
    from treadle.destinations.forecast import described, told
    from treadle.destinations.registry import open_url

    with opened(config) as store:
        if arguments.source is None:
            source = only_one(store.sources())
        else:
            source = source_named(store, None, arguments.source)
        row = store.destination_of(source.id)
    here = config.destination_url if row is None else row.url
    destination = open_url(config.destination or here)
    form = Form(source.account_id, arguments.table, tuple(arguments.key))
    with opened_file(arguments.file) as stream:
        sent = [batch for found in _sent(stream, form, arguments.sequence_field) for batch in found]
    if not sent:
        print("The file holds no record.")
        return 0
    found = _asked(destination, source, sent, rehearse=arguments.rehearse)
    if arguments.json:
        print_json(described(found))
    elif found.stopped is not None:
        raise TableStopped(told(found))
    else:
        print(told(found))
    return 0 if found.stopped is None else 2


def _sent(stream: IO[bytes], form: Form, sequence_field: str | None) -> "Iterator[list[Batch]]":
    """What the server makes of the requests that `treadle push` would send.

    Raises:
        Refused: the server would not take it.
    """
    from treadle.records import push

    base = time.time_ns()
    for batch in batches(pieces(stream), form.keys, sequence_field, base, 0, RECORDS_MAX):
        try:
            yield push.check(push.decode(form.body(batch), transit=False), form.client_id)
        except Refused as refused:
            raise TableStopped(
                f"A push would be refused, somewhere in {batch.places}: {refused}"
            ) from refused


def _asked(
    destination: "Destination",
    source: Source,
    sent: "list[Batch]",
    *,
    rehearse: bool,
) -> "Forecast":
    """The forecast; a database that somebody else holds is asked again for a while."""
    from treadle.destinations.forecast import forecast

    how: dict[str, Any] = {
        "schema": source.name,
        "profile": destination.profile,
        "settings": source.settings,
        "now": read_clock(),
        "rehearse": rehearse,
    }

    def attempt() -> "Forecast":
        with destination.open() if rehearse else destination.preview() as session:
            return forecast(session, sent, **how)

    return patiently(attempt)


COMMAND = Command(
    words=("plan",),
    help="say what a load of a file would do, with its SQL, and do nothing",
    run=run,
    arguments=_arguments,
    settings=("destination",),
    defaults={"destination": "where the source's rows go"},
)
