"""Names of objects and folders. Functions of values.

A key has parts that slashes separate. Readers see the folders of schemas with those of relations in
them; all the rest is in `_treadle`, whose name Spark, Hive and Athena pass over.
"""

import re
from typing import Final
from urllib.parse import unquote

from treadle.destinations.layout import PRIVATE_SCHEMA, digest_name
from treadle.tables.model import OffsetCommit

FOLDER_BYTES_MAX: Final = 180
"""Longest name of a folder. With a prefix of `PREFIX_BYTES_MAX`, no key is longer than
`KEY_BYTES_MAX`, and no file system refuses a part."""

PREFIX_BYTES_MAX: Final = 60
KEY_BYTES_MAX: Final = 500
"""Stitch's limit of an object's key (loading.md 10.1)."""

TABLES: Final = f"{PRIVATE_SCHEMA}/tables"
OWNERS: Final = f"{PRIVATE_SCHEMA}/owners"
PENDING: Final = f"{PRIVATE_SCHEMA}/pending"
PROBES: Final = f"{PRIVATE_SCHEMA}/probes"

PARQUET: Final = "parquet"
JSON_LINES: Final = "jsonl"
"""Ending of files of rejected records: Stitch writes no other (loading.md 8.1)."""

_CUT_BYTES: Final = 140
_DIGEST_CHARACTERS: Final = 32
_CUT_MARK: Final = "~"

# What a folder cannot have, what readers take for a pattern or a partition, and our own marks.
_ESCAPED: Final = re.compile(r'[\x00-\x1f\x7f-\x9f%/\\*?\[\]{}"<>|:=#^`~]|^\.|[. ]$')


def encode_folder(name: str) -> str:
    """Return the folder of a schema or relation: its name, with `%XX` for unsafe characters.

    Different names have different folders. A long one is cut, with a digest behind `~`.
    """
    escaped = _ESCAPED.sub(_escape, name) or "%"
    if len(escaped.encode()) <= FOLDER_BYTES_MAX:
        return escaped
    cut = escaped.encode()[:_CUT_BYTES].decode(errors="ignore")
    return cut + _CUT_MARK + digest_name(name)[:_DIGEST_CHARACTERS]


def decode_folder(folder: str) -> str | None:
    """Return the name that `encode_folder` was given; None for one that was cut, or is not ours."""
    if folder == "%":
        return ""
    name = unquote(folder, errors="replace")
    return name if encode_folder(name) == folder else None


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def name_relation_folder(schema: str, relation: str) -> str:
    """Return the folder in which readers find the files of a relation."""
    return f"{encode_folder(schema)}/{encode_folder(relation)}"


def name_schema_records(schema: str) -> str:
    """Return the folder of the records of all tables of a schema."""
    return f"{TABLES}/{encode_folder(schema)}"


def name_table_records(schema: str, folded: str) -> str:
    """Return the folder of the records of a table, by its folded name."""
    return f"{name_schema_records(schema)}/{encode_folder(folded)}"


def name_owner_records(schema: str) -> str:
    """Return the folder of the records of a schema's owner."""
    return f"{OWNERS}/{encode_folder(schema)}"


def name_pending_folder(schema: str, folded: str) -> str:
    """Return the folder of the attempts of a table."""
    return f"{PENDING}/{encode_folder(schema)}/{encode_folder(folded)}"


def name_attempt_folder(schema: str, folded: str, number: int, attempt: str) -> str:
    """Return the folder of the files of one attempt.

    Args:
        schema: of the table.
        folded: its folded name.
        number: of the record that the attempt began from.
        attempt: its name.
    """
    return f"{name_pending_folder(schema, folded)}/{number:012d}_{attempt}"


def read_attempt(key: str) -> tuple[int, str]:
    """Return the number and the name of the attempt that a pending file is of; -1 for none."""
    number, _, attempt = key.rsplit("/", 2)[-2].partition("_")
    return (int(number), attempt) if number.isdigit() else (-1, "")


def name_record(folder: str, number: int) -> str:
    """Return the key of a record."""
    return f"{folder}/{number:012d}.json"


def read_number(key: str) -> int:
    """Return the number of a record; -1 for what is none."""
    stem, _, ending = key.rpartition("/")[2].partition(".")
    return int(stem) if stem.isdigit() and ending == "json" else -1


def name_file(
    mark: OffsetCommit, relation: str, *, version: int, batched_at: int, ending: str
) -> str:
    """Return the name that readers see of a file of a load.

    Args:
        mark: of the load.
        relation: whose rows are in it.
        version: of the table.
        batched_at: of the load, microseconds since 1970. It grows with each load of a table by one
            at least, so it is in the name as it is: who looks for new files compares it.
        ending: of the name.
    """
    place = f"{mark.log_id}\0{mark.source_id}\0{mark.table_name}\0{mark.position}\0{relation}"
    return f"{version}_{batched_at}_{digest_name(place)[:16]}.{ending}"
