"""What treadle notes of tables and schemas beside their files. Functions of values.

A record is an object that is written once. The one with the greatest number counts.
"""

from collections.abc import Mapping
from typing import Final, Self

import msgspec

from treadle.destinations.load_mark import LoadMark, digest_mark
from treadle.tables import table_codec
from treadle.tables.model import OffsetCommit, Table
from treadle.tables.schema_owner import SchemaOwner

RECORDS_KEPT: Final = 16
"""The newest records of a table, which are kept."""

RECORDS_MAX: Final = 32
"""Older ones are removed when there are as many."""


class ShownFile(msgspec.Struct, frozen=True):
    """A file of a load.

    Attributes:
        pending: its key until it is shown.
        shown: its key where readers look.
    """

    pending: str
    shown: str


class TableRecord(msgspec.Struct, frozen=True):
    """A table after a load.

    Attributes:
        schema, name: of the table; the name as the first load called it.
        attempt: the name of the attempt that wrote this; different for each.
        previous: that of the record before; "" for none.
        number: of the record; 0 where there is none.
        revision: of the catalogue entry.
        marks: digest of log, source and table name -> the last load.
        entry: the catalogue entry as a text; None where treadle has made no table.
        files: of the load, in the order in which they are shown.
        filled: relation -> files that loads have added to it.
    """

    schema: str
    name: str
    attempt: str = ""
    previous: str = ""
    number: int = 0
    revision: int = 0
    marks: dict[str, LoadMark] = {}
    entry: str | None = None
    files: tuple[ShownFile, ...] = ()
    filled: dict[str, int] = {}

    @property
    def table(self) -> Table | None:
        """The catalogue entry."""
        return None if self.entry is None else table_codec.decode_table(self.entry)

    def get_mark(self, mark: OffsetCommit) -> LoadMark | None:
        """Return what is held for the offset of a plan."""
        return self.marks.get(digest_mark(mark.log_id, mark.source_id, mark.table_name))

    def follow(self, attempt: str) -> Self:
        """Return the record after this one, with nothing changed."""
        return msgspec.structs.replace(
            self, attempt=attempt, previous=self.attempt, number=self.number + 1, files=()
        )


class OwnerRecord(msgspec.Struct, frozen=True):
    """The owner of a schema; `attempt`, `previous` and `number` as those of a table.

    Attributes:
        owner: None where the schema was removed.
    """

    schema: str
    owner: SchemaOwner | None
    attempt: str = ""
    previous: str = ""
    number: int = 0


def count_files(held: Mapping[str, int], relations: list[str]) -> dict[str, int]:
    """Return how many files relations got, after a load that adds one to each of these."""
    return {**held, **{name: held.get(name, 0) + 1 for name in relations}}
