"""The statements of the suite and of the loading cases as BigQuery takes them. Pure.

It has no indexes, and a key is rows of `_sdc_primary_keys`. A new column has no default there: a
user sets the rows that are there, and for others a default, which is left out here.
"""

import re
from typing import Final

_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"([^\"]*)\"", re.DOTALL)
_ADD: Final = re.compile(
    r"(?P<kept>ALTER TABLE (?P<table>\S+) ADD COLUMN (?P<name>\S+) \w+)(?:\(\d+\))?"
    r" DEFAULT (?P<value>.*)",
    re.DOTALL,
)
_INDEX: Final = re.compile(r"(?:CREATE (?:UNIQUE )?|DROP )INDEX .*", re.DOTALL)
_KEY: Final = re.compile(r"(?P<name>\w+) (?P<type>\w+) PRIMARY KEY")
_CREATE: Final = re.compile(r"CREATE TABLE (?P<table>\S+) *\(.*", re.DOTALL)
_TEXT: Final = re.compile(r"\b(?:TEXT|VARCHAR)\b(?:\(\d+\))?", re.IGNORECASE)
_VIEW: Final = re.compile(r"\binformation_schema\.(columns|tables)\b", re.IGNORECASE)
_ASKED: Final = re.compile(r"table_schema\)? = '(\w+)'")


def spell_for_bigquery(statement: str, schema: str = "web") -> list[str]:
    """Return what is run in place of a statement; the rows are those of the last one.

    Args:
        statement: of the suite, or of a case.
        schema: that names without one mean.
    """
    text = _QUOTED.sub(lambda found: found[0] if found[1] is None else f"`{found[1]}`", statement)
    text = text.strip() if "'" in text else " ".join(text.split())
    if found := _ADD.fullmatch(text):
        setting = f"UPDATE {found['table']} SET {found['name']} = {found['value']} WHERE TRUE"
        return [_TEXT.sub("STRING", found["kept"]), setting]
    if _INDEX.fullmatch(text):
        return []
    if (found := _CREATE.fullmatch(text)) and (key := _KEY.search(text)):
        of, _, name = found["table"].rpartition(".")
        made = [_spell_types(_KEY.sub(r"\g<name> \g<type>", text))]
        if of != "_treadle":
            keys = f"{of or schema}._sdc_primary_keys (table_name, column_name)"
            made.append(f"INSERT INTO {keys} VALUES ('{name}', '{key['name']}')")
        return made
    return [_spell_plain(text)]


def _spell_types(text: str) -> str:
    return _TEXT.sub("STRING", text).replace("TIMESTAMPTZ", "TIMESTAMP")


def _spell_plain(text: str) -> str:
    if asked := _ASKED.search(text):
        text = _VIEW.sub(lambda one: f"{asked[1]}.INFORMATION_SCHEMA.{one[1].upper()}", text)
    text = text.replace("information_schema.schemata", "INFORMATION_SCHEMA.SCHEMATA")
    if re.match(r"(?:UPDATE|DELETE)\b", text) and " WHERE " not in text:
        text += " WHERE TRUE"
    starts = ("ALTER TABLE", "CREATE TABLE", "CREATE VIEW")
    return _spell_types(text) if text.startswith(starts) else text
