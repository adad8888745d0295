"""`treadle plan`: says what a load of a file would do, without loading it."""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_text
from treadle.cli.push import find_only_source, open_input
from treadle.cli.record_file import read_records
from treadle.cli.request_batch import PushTemplate, make_batches
from treadle.cli.store_access import find_source, find_url_of_source, open_existing_store
from treadle.clock import read_clock
from treadle.config import Config
from treadle.destinations.retry import open_with_retry
from treadle.errors import RequestRefusedError, TableStoppedError
from treadle.store.model import Source
from treadle.tables.schema_owner import SchemaOwner

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast
    from treadle.destinations.protocol import Destination
    from treadle.records.message_batch import MessageBatch

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
        help="run the load in a transaction and roll it back; locks the table meanwhile",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_plan(config: Config, arguments: Arguments) -> int:
    """Print what a load would do; return 2 if it would stop the table."""
    from treadle.destinations.forecast import describe_forecast, forecast_document
    from treadle.destinations.registry import make_destination

    with open_existing_store(config) as store:
        if arguments.source is None:
            source = find_only_source(store.sources.list_sources())
        else:
            source = find_source(store, None, arguments.source)
        url = config.destination or find_url_of_source(store, config, source)
        owner = SchemaOwner(store.installation_id, source.account_id, source.id)
        schemas = {
            found.table_name: found.document
            for found in store.table_schemas.list_schemas(source.id)
        }
    destination = make_destination(url)
    form = PushTemplate(source.account_id, arguments.table, tuple(arguments.key))
    with open_input(arguments.file) as stream:
        sent = [
            batch
            for found in _decode_requests(stream, form, arguments.sequence_field, schemas)
            for batch in found
        ]
    if not sent:
        print_line("The file holds no record.")
        return 0
    found = _make_forecast(destination, source, owner, sent, rehearse=arguments.rehearse)
    if arguments.json:
        print_json(forecast_document(found))
    elif found.stopped is not None:
        raise TableStoppedError(describe_forecast(found))
    else:
        print_text(describe_forecast(found))
    return 0 if found.stopped is None else 2


def _decode_requests(
    stream: IO[bytes],
    form: PushTemplate,
    sequence_field: str | None,
    schemas: Mapping[str, bytes],
) -> "Iterator[list[MessageBatch]]":
    """Yield the batches that the server would decode from the requests of `treadle push`.

    Raises:
        TableStoppedError: the server would refuse a request.
    """
    from treadle.records import push, table_schema
    from treadle.records.field_check import RecordsRefusedError
    from treadle.records.validation.effort import EffortSpentError, make_request_effort

    base = time.time_ns()
    for batch in make_batches(
        read_records(stream), form.keys, sequence_field, base, 0, RECORDS_MAX
    ):
        try:
            body = form.encode_body(batch)
            found = push.check_body(push.decode_body(body, transit=False), form.client_id)
            failures = table_schema.find_failures(found, schemas, make_request_effort(len(body)))
            if failures:
                raise RecordsRefusedError(
                    [{"data": one.lines} for one in failures], [one.place for one in failures]
                )
            yield table_schema.add_schemas(found, schemas)
        except EffortSpentError:
            raise TableStoppedError(
                f"A push would be refused: {table_schema.TOO_MUCH_WORK_REASON}"
            ) from None
        except RequestRefusedError as refused:
            raise TableStoppedError(
                f"A push would be refused, somewhere in {batch.places}: {refused}"
            ) from refused


def _make_forecast(
    destination: "Destination",
    source: Source,
    owner: SchemaOwner,
    sent: "list[MessageBatch]",
    *,
    rehearse: bool,
) -> "LoadForecast":
    """Make the forecast. While another process has the database open, try again for a while."""
    from treadle.destinations.forecast import forecast_load

    how: dict[str, Any] = {
        "schema": source.schema,
        "owner": owner,
        "profile": destination.profile,
        "settings": source.settings,
        "now": read_clock(),
        "rehearse": rehearse,
    }

    def attempt() -> "LoadForecast":
        with destination.open() if rehearse else destination.preview() as session:
            return forecast_load(session, sent, **how)

    return open_with_retry(attempt)


COMMAND = CliCommand(
    words=("plan",),
    help="print what a load of a file would do, with its SQL, without loading it",
    run=run_plan,
    arguments=_arguments,
    settings=("destination",),
    defaults={"destination": "where the source's rows go"},
)
