"""`treadle plan`: says what a load of a file would do, without loading it."""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_text
from treadle.cli.push import (
    add_reading_arguments,
    find_files,
    find_only_source,
    make_read_options,
    read_files,
)
from treadle.cli.store_access import find_source, find_url_of_source, open_existing_store
from treadle.clock import read_clock
from treadle.config import Config
from treadle.destinations.retry import open_with_retry
from treadle.errors import RequestRefusedError, TableStoppedError
from treadle.store.model import Source
from treadle.tables.schema_owner import SchemaOwner

if TYPE_CHECKING:
    from treadle.cli.push import FileRecords
    from treadle.client.request_batch import FormTemplate, RequestBatch
    from treadle.destinations.forecast import LoadForecast
    from treadle.destinations.protocol import Destination
    from treadle.record_files.record_check import RecordChecker
    from treadle.records.message_batch import MessageBatch


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="files or patterns as `treadle push` takes them; - is standard input",
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
    add_reading_arguments(parser)
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="run the load in a transaction and roll it back; locks the table meanwhile",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_plan(config: Config, arguments: Arguments) -> int:
    """Print what a load would do; return 2 if it would stop the table."""
    from treadle.client.request_batch import FormTemplate
    from treadle.destinations.forecast import describe_forecast, forecast_document
    from treadle.destinations.registry import make_destination
    from treadle.record_files.record_check import RecordChecker

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
    form = FormTemplate(source.account_id, arguments.table, tuple(arguments.key))
    options = make_read_options(arguments, schemas.get(arguments.table))
    checker = RecordChecker(arguments.key, arguments.sequence_field)
    files = read_files(find_files(arguments.files), options, 0)
    sent = [batch for found in _decode_requests(files, checker, form, schemas) for batch in found]
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
    files: "Iterator[FileRecords]",
    checker: "RecordChecker",
    form: "FormTemplate",
    schemas: Mapping[str, bytes],
) -> "Iterator[list[MessageBatch]]":
    """Yield the batches that the server would decode from the requests of `treadle push`.

    Raises:
        TableStoppedError: the server would refuse a request.
    """
    from treadle.client.request_batch import RECORDS_MAX
    from treadle.record_files.batching import make_batches
    from treadle.records import table_schema
    from treadle.records.validation.effort import EffortSpentError

    base = time.time_ns()
    start = 0
    for file in files:
        for batch in make_batches(
            file.chunks,
            checker,
            base=base,
            start=start,
            records_max=RECORDS_MAX,
        ):
            start = batch.end
            try:
                yield _decode_request(form, batch, schemas)
            except EffortSpentError:
                raise TableStoppedError(
                    f"A push would be refused: {table_schema.TOO_MUCH_WORK_REASON}"
                ) from None
            except RequestRefusedError as refused:
                raise TableStoppedError(
                    f"A push would be refused, somewhere in {batch.places}: {refused}"
                ) from refused


def _decode_request(
    form: "FormTemplate", batch: "RequestBatch", schemas: Mapping[str, bytes]
) -> "list[MessageBatch]":
    from treadle.client.request_batch import PushTemplate
    from treadle.records import batch as batches
    from treadle.records import push, table_schema
    from treadle.records.field_check import RecordsRefusedError
    from treadle.records.validation.effort import make_request_effort

    template = form.choose(batch)
    body = template.encode_body(batch)
    if not isinstance(template, PushTemplate):
        return batches.read_body(body)
    found = push.check_body(push.decode_body(body, transit=False), template.client_id)
    failures = table_schema.find_failures(found, schemas, make_request_effort(len(body)))
    if failures:
        raise RecordsRefusedError(
            [{"data": one.lines} for one in failures], [one.place for one in failures]
        )
    return table_schema.add_schemas(found, schemas)


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
    intermixed=True,
    defaults={"destination": "where the source's rows go"},
)
