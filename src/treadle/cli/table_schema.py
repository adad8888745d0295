"""`treadle source schema`: the JSON schemas that a source has for its tables."""

import argparse
import json
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_json, print_line, print_list, print_text, to_whole_second
from treadle.cli.push import open_input
from treadle.cli.store_access import open_named_source
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.store.model import Source, TableSchema

if TYPE_CHECKING:
    from treadle.store.store import Store

COLUMNS: Final = ("table", "properties", "bytes", "set_at")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help="the table, as it is named in pushes; without it, list all tables with a schema",
    )
    parser.add_argument(
        "--set", metavar="FILE", help="set the schema to that of a file; - is standard input"
    )
    parser.add_argument("--remove", action="store_true", help="remove the schema; rows stay")
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print JSON on one line")


def run(config: Config, arguments: Arguments) -> int:
    """Set or remove the schema of a table, or print what is in force."""
    if arguments.set is not None and arguments.remove:
        raise UsageError("--set and --remove exclude each other.")
    if arguments.table is None and (arguments.set is not None or arguments.remove):
        raise UsageError("Name the table whose schema is to change.")
    with open_named_source(config, arguments) as (store, source):
        if arguments.table is None:
            _print_list(store.table_schemas.list_schemas(source.id), as_json=arguments.json)
            return 0
        if arguments.set is not None:
            found = _set_schema(store, source, arguments.table, arguments.set)
        elif arguments.remove:
            _require(store.table_schemas.remove_schema(source, arguments.table), source, arguments)
            print_line(f"Removed the schema of the table {arguments.table}; its rows stay.")
            return 0
        else:
            found = _require(
                store.table_schemas.find_schema(source.id, arguments.table), source, arguments
            )
    value = json.loads(found.document)
    if arguments.json:
        print_json(value)
    else:
        print_text(json.dumps(value, indent=2, ensure_ascii=False))
    return 0


def _set_schema(store: "Store", source: Source, table: str, file: str) -> TableSchema:
    from treadle.records.table_schema import prepare_schema
    from treadle.records.validation.schema_loader import SchemaError
    from treadle.store.table_schemas import TABLE_SCHEMA_BYTES_MAX

    if not table.strip():
        raise UsageError("The name of the table is blank.")
    with open_input(file) as stream:
        # One byte more than there may be, so that a longer file is refused.
        document = b""
        while len(document) <= TABLE_SCHEMA_BYTES_MAX and (part := stream.read(1 << 16)):
            document += part
    try:
        prepared = prepare_schema(document)
    except SchemaError as error:
        raise OperatorError(f"The schema in {file} cannot be used: {error}.") from None
    return store.table_schemas.set_schema(source, table, prepared)


def _require(found: TableSchema | None, source: Source, arguments: Arguments) -> TableSchema:
    if found is None:
        raise OperatorError(
            f"The table {arguments.table!r} of the source {source.name} has no schema; "
            f"set one with --set FILE."
        )
    return found


def _print_list(found: list[TableSchema], *, as_json: bool) -> None:
    rows = []
    for schema in found:
        properties = json.loads(schema.document).get("properties")
        count = len(properties) if isinstance(properties, dict) else 0
        rows.append(
            (schema.table_name, count, len(schema.document), to_whole_second(schema.updated_at))
        )
    print_list(COLUMNS, rows, as_json=as_json)


COMMAND = CliCommand(
    words=("source", "schema"),
    help="print or set the JSON schema of a table, which its records are to fit",
    run=run,
    arguments=_arguments,
    intermixed=True,
)
