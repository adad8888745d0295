"""`treadle requests`: the latest requests, accepted and refused."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand, parse_positive
from treadle.cli.output import print_rows, to_whole_second
from treadle.cli.result_text import to_json_value
from treadle.cli.store_access import find_source, open_existing_log, open_existing_store
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.traces.refusals import KeptRefusal

COLUMNS = (
    *("at", "status", "state", "endpoint", "source", "tables", "records", "bytes"),
    *("token", "from", "receipt", "reason"),
)
GROUP_COLUMNS = (
    *("total", "last hour", "endpoint", "status", "reason", "source", "token"),
    *("first", "last", "latest answer"),
)
RECEIPT_COLUMNS = (
    *("table", "state", "records", "loaded", "superseded", "rejected"),
    *("accepted", "load", "load ended", "error"),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="ID", help="only of this source, by id or name")
    parser.add_argument("--table", metavar="NAME", help="only with this table, as sent")
    parser.add_argument(
        "--refused",
        action="store_true",
        help="only refused ones, counted by endpoint, status, reason and token; each machine of a "
        "cluster has those that it refused",
    )
    parser.add_argument(
        "--receipt", metavar="TEXT", help="what became of one accepted request, table by table"
    )
    parser.add_argument("--limit", metavar="N", default="50", help="how many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")


def print_requests(config: Config, arguments: Arguments) -> int:
    """List requests of all accounts, newest first, or refusals by cause."""
    limit = parse_positive("--limit", arguments.limit)
    if arguments.receipt is not None:
        return _print_receipt(config, arguments)
    if arguments.refused:
        return _print_refusals(config, arguments, limit)
    import time

    from treadle.log.joined import list_readers
    from treadle.traces.refusal_file import read_refusals
    from treadle.tracking.receipts import Receipt, make_receipt_codec
    from treadle.tracking.request_tail import judge_requests, read_tail

    with open_existing_store(config) as store, open_existing_log(config, store) as reader:
        chosen = None if arguments.source is None else find_source(store, None, arguments.source).id
        names = {source.id: source.name for source in store.sources.list_sources()}
        found = [
            one
            for log, its in list_readers(reader).items()
            for one in read_tail(
                its.statistics,
                None,
                limit,
                lambda entry: (
                    chosen in (None, entry.source_id)
                    and arguments.table in (None, entry.table_name)
                ),
                time.monotonic,
                number=log,
            ).requests
        ]
        accepted = judge_requests(store, found)
        codec = make_receipt_codec(store.installation_id, reader)
    refused: Sequence[KeptRefusal] = []
    if arguments.table is None:
        refused = [
            one
            for one in read_refusals(config.refusals_path)
            if chosen in (None, one.group.source_id)
        ]
    rows: list[tuple[int, tuple[object, ...]]] = [
        (
            one.received_at,
            (
                to_whole_second(one.received_at),
                201,
                one.state,
                None,
                names.get(one.source_id, str(one.source_id)),
                ", ".join(one.tables),
                one.records,
                one.size,
                None,
                None,
                codec.encode(Receipt(one.source_id, one.first, one.entries)),
                f"{one.rejected} rejected" if one.rejected else None,
            ),
        )
        for one in accepted
    ]
    rows += [
        (
            one.at,
            (
                to_whole_second(one.at),
                one.group.status,
                "refused",
                one.group.endpoint,
                names.get(one.group.source_id),
                "",
                None,
                one.bytes,
                str(one.group.token_id) if one.group.token_id else one.fingerprint or None,
                one.address or None,
                None,
                one.group.reason,
            ),
        )
        for one in refused
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    print_rows(COLUMNS, [row for _, row in rows[:limit]], as_json=arguments.json)
    return 0


def _print_receipt(config: Config, arguments: Arguments) -> int:
    from treadle.log.joined import choose_reader
    from treadle.tracking.receipt_status import read_receipt_status
    from treadle.tracking.receipts import make_receipt_codec
    from treadle.tracking.request_tail import list_table_statuses

    with open_existing_store(config) as store, open_existing_log(config, store) as reader:
        codec = make_receipt_codec(store.installation_id, reader)
        receipt = codec.decode(arguments.receipt)
        if receipt is None:
            raise OperatorError(
                "this is no receipt of this server; a receipt is the whole text of the header "
                "Treadle-Receipt of an answer"
            )
        its = choose_reader(reader, receipt.source_id)
        entries = its.find_entries(receipt.first, receipt.entries)
        if not entries:
            raise OperatorError("all of this was loaded, and details are no longer kept")
        told = read_receipt_status(
            arguments.receipt,
            receipt,
            entries,
            list_table_statuses(store, receipt.source_id, {one.table_name for one in entries}),
            store=store,
            find_keys=its.statistics.find_keys,
            codec=codec,
        )
    rows = [
        (
            one["table_name"],
            one["status"],
            one["records"],
            one["loaded"],
            one["superseded"],
            len(one["rejected"]),
            one["accepted_at"],
            None if one["load"] is None else one["load"]["id"],
            None if one["load"] is None else one["load"]["finished_at"],
            one["error"],
        )
        for one in told["tables"]
    ]
    print_rows(RECEIPT_COLUMNS, rows, as_json=arguments.json)
    return 0


def _print_refusals(config: Config, arguments: Arguments, limit: int) -> int:
    from treadle.clock import read_clock
    from treadle.traces.refusal_file import read_counts
    from treadle.traces.refusals import merge_counts

    with open_existing_store(config) as store:
        chosen = None if arguments.source is None else find_source(store, None, arguments.source).id
        names = {source.id: source.name for source in store.sources.list_sources()}
    counts = merge_counts(read_counts(config.refusals_path, read_clock()))
    rows = [
        (
            one.total,
            sum(one.minutes),
            one.group.endpoint,
            one.group.status,
            one.group.reason,
            names.get(one.group.source_id),
            one.group.token_id or None,
            to_json_value(to_whole_second(one.first)),
            to_json_value(to_whole_second(one.last)),
            None if one.latest is None else one.latest.body,
        )
        for one in counts
        if chosen in (None, one.group.source_id)
    ]
    print_rows(GROUP_COLUMNS, rows[:limit], as_json=arguments.json)
    return 0


COMMAND = CliCommand(
    words=("requests",),
    help="list the latest requests, accepted and refused, or refusals by cause",
    run=print_requests,
    arguments=_arguments,
)
