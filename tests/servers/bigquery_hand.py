"""The hand of a user on BigQuery: the suite's statements in its words.

It has no indexes, and a key is rows of `_sdc_primary_keys`. A new column has no default there: a
user sets the rows that are there, and for others a default, which the emulator does not know.
"""

import re
from collections.abc import Callable
from typing import Any, Final

QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"([^\"]*)\"", re.DOTALL)
ADD: Final = re.compile(
    r"(?P<kept>ALTER TABLE (?P<table>\S+) ADD COLUMN (?P<name>\S+) \w+)(?:\(\d+\))?"
    r" DEFAULT (?P<value>.*)",
    re.DOTALL,
)
UNKEY: Final = re.compile(r"ALTER TABLE (?P<table>\S+) DROP CONSTRAINT .*")
INDEX: Final = re.compile(r"(?:CREATE (?:UNIQUE )?|DROP )INDEX .*", re.DOTALL)
KEY: Final = re.compile(r",? *PRIMARY KEY *\((?P<names>[^)]*)\)|(?P<name>\S+) \w+ PRIMARY KEY")
CREATE: Final = re.compile(r"CREATE TABLE (?P<table>\S+) *\(.*", re.DOTALL)
MARK_TYPES: Final = re.compile(r"\b(?:TEXT|VARCHAR)\b(?:\(\d+\))?", re.IGNORECASE)
SCHEMA_VIEW: Final = re.compile(r"\binformation_schema\.(columns|tables)\b", re.IGNORECASE)
SCHEMA_ASKED: Final = re.compile(r"table_schema = '(\w+)'")


class BigqueryHand:
    """A user with statements.

    Args:
        run: runs one statement of BigQuery's, and returns its rows.
        schema: that names without a schema mean.
    """

    def __init__(self, run: Callable[[str], list[tuple[Any, ...]]], schema: str = "web") -> None:
        self._run = run
        self._schema = schema

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement of the suite's or of a case's."""
        text = (
            " ".join(spell_quotes(statement).split())
            if "'" not in statement
            else (spell_quotes(statement).strip())
        )
        if found := ADD.fullmatch(text):
            self._run(spell_types(found["kept"]))
            table, name, value = found["table"], found["name"], found["value"]
            return self._run(f"UPDATE {table} SET {name} = {value} WHERE TRUE")
        if found := UNKEY.fullmatch(text):
            schema, name = self._place(found["table"])
            return self._run(f"DELETE FROM {schema}._sdc_primary_keys WHERE table_name = '{name}'")
        if INDEX.fullmatch(text):
            return []
        if (found := CREATE.fullmatch(text)) and (key := KEY.search(text)):
            schema, name = self._place(found["table"])
            names = key["names"] or key["name"].strip("(")
            bare = KEY.sub(
                lambda one: one[0].replace("PRIMARY KEY", "") if one["name"] else "", text
            )
            self._run(spell_types(bare))
            if schema != "_treadle":
                for column in map(strip, names.split(",")):
                    self._run(
                        f"INSERT INTO {schema}._sdc_primary_keys (table_name, column_name)"
                        f" VALUES ('{name}', '{column}')"
                    )
            return []
        return self._run(spell_plain(text))

    def _place(self, table: str) -> tuple[str, str]:
        schema, _, name = table.replace("`", "").rpartition(".")
        return schema or self._schema, name


def strip(name: str) -> str:
    return name.strip(" `();")


def spell_quotes(statement: str) -> str:
    """A statement with names in backticks where they are in quotation marks."""
    return QUOTED.sub(lambda found: found[0] if found[1] is None else f"`{found[1]}`", statement)


def spell_types(text: str) -> str:
    return MARK_TYPES.sub("STRING", text).replace("TIMESTAMPTZ", "TIMESTAMP")


def spell_plain(text: str) -> str:
    """A statement as BigQuery takes it."""
    asked = SCHEMA_ASKED.search(text)
    if asked is not None:
        text = SCHEMA_VIEW.sub(lambda one: f"{asked[1]}.INFORMATION_SCHEMA.{one[1].upper()}", text)
    text = text.replace("information_schema.schemata", "INFORMATION_SCHEMA.SCHEMATA")
    if re.match(r"(?:UPDATE|DELETE)\b", text) and " WHERE " not in text:
        text += " WHERE TRUE"
    if text.startswith(("ALTER TABLE", "CREATE TABLE", "CREATE VIEW")):
        text = spell_types(text)
    return text
