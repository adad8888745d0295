"""`treadle source webhook`: sets what the webhook of a source does (import-api.md 15)."""

import argparse
from typing import Any

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_json, print_table
from treadle.cli.store_access import open_named_source
from treadle.config import Config
from treadle.errors import OperatorError
from treadle.records.field_check import are_table_names
from treadle.records.limits import TABLE_CHARACTERS_MAX
from treadle.records.webhook_provider import HEADER_PREFIX, PROVIDERS, is_key_name

DEFAULTS: dict[str, Any] = {
    "table": "data",
    "key": [],
    "upsert": False,
    "import_tokens": True,
    "provider": None,
}
"""Default values, by the names of the settings."""

VALUES = {
    "table": "the name of a table",
    "key": "names of fields, or of headers as header:NAME, separated by commas",
    "upsert": "on or off",
    "import_tokens": "on or off",
    "provider": ", ".join(PROVIDERS),
}
_SWITCHES = {"on": True, "off": False}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="name or id of the source")
    parser.add_argument(
        "assignments",
        metavar="NAME=VALUE",
        nargs="*",
        help="set table, key, upsert, import_tokens or provider; NAME= takes it back; without any, "
        "print all",
    )
    parser.add_argument("--account", metavar="ID", help="account of the source (default: any)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(config: Config, arguments: Arguments) -> int:
    """Set what a webhook does, and print what is in force."""
    change = parse_assignments(arguments.assignments)
    with open_named_source(config, arguments) as (store, source):
        if change:
            changed = store.sources.update_source(
                source.account_id, source.id, settings={"webhook": change}
            )
            if changed is None:  # deleted by somebody else a moment ago
                raise OperatorError(f"The source {source.name} was deleted.")
            source = changed
    kept = source.settings.get("webhook")
    found = DEFAULTS | (kept if isinstance(kept, dict) else {})
    if arguments.json:
        print_json({name: found[name] for name in DEFAULTS})
        return 0
    print_table(
        ("setting", "value", "values"),
        [(name, _format_value(found[name]), VALUES[name]) for name in DEFAULTS],
    )
    return 0


def parse_assignments(texts: list[str]) -> dict[str, Any]:
    """Return setting -> its new value, None to take it back.

    Raises:
        UsageError: an unknown setting, or a value that is not valid.
    """
    wanted: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in DEFAULTS:
            raise UsageError(
                f"Expected NAME=VALUE with one of {', '.join(DEFAULTS)}, found {text!r}."
            )
        wanted[name] = _parse_value(name, value) if value else None
    return wanted


def _parse_value(name: str, value: str) -> Any:
    if name == "key":
        names = [field for field in value.split(",") if field]
        if not all(map(is_key_name, names)):
            raise UsageError(
                f"Expected the name of a header behind {HEADER_PREFIX}, not {value!r}."
            )
        return names
    if name == "table":
        if not are_table_names((value,)):
            raise UsageError(
                f"Expected a name of at most {TABLE_CHARACTERS_MAX} characters for the table, "
                f"found {value[:40]!r}."
            )
        return value
    if name == "provider":
        if value not in PROVIDERS:
            raise UsageError(f"provider is to be one of {VALUES[name]}, not {value!r}.")
        return value
    if value not in _SWITCHES:
        raise UsageError(f"{name} is to be on or off, not {value!r}.")
    return _SWITCHES[value]


def check_webhook_value(name: str, value: object) -> None:
    """Check the value of a setting that was given as one, not as a text.

    Raises:
        OperatorError: it is not valid.
    """
    if name == "key":
        good = isinstance(value, list) and all(
            isinstance(one, str) and is_key_name(one) for one in value
        )
    elif name == "provider":
        good = isinstance(value, str) and value in PROVIDERS
    elif name == "table":
        good = isinstance(value, str) and are_table_names((value,))
    else:
        good = isinstance(value, bool)
    if not good:
        expected = "true or false" if VALUES[name] == "on or off" else VALUES[name]
        raise OperatorError(f"webhook.{name} is to be {expected}")


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


COMMAND = CliCommand(
    words=("source", "webhook"),
    help="print or set what the webhook of a source does",
    run=run,
    arguments=_arguments,
    intermixed=True,
)
