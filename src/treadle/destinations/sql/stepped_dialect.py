"""The SQL of a database that commits a schema change when it is made."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import ClassVar, LiteralString

from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import Quoted

RelationPlace = tuple[str, str]
"""Schema and name of a relation."""


class SteppedDialect(SqlDialect):
    """The SQL of such a database.

    Attributes:
        take_lock: gives a row with a true value when this session has the lock $1, which no other
            session has until `leave_lock` or the end of the session. It waits for a while.
        leave_lock: lets go of the lock $1.
        copy_definition: makes `{copy}`, a temporary table, with columns, key and indexes of
            `{original}`.
        rename_temporary: gives the temporary table `{copy}` the name `{name}`, which another
            table may have: that is hidden from this session then.
        drop_temporary: drops the temporary table `{table}` if it is there.
    """

    transactional_ddl = False
    take_lock: ClassVar[Quoted]
    leave_lock: ClassVar[Quoted]
    copy_definition: ClassVar[LiteralString]
    rename_temporary: ClassVar[LiteralString]
    drop_temporary: ClassVar[LiteralString]

    def __init__(self) -> None:
        self._drafts: Mapping[RelationPlace, str] = {}

    @cached_property
    def own_tables(self) -> Mapping[str, Quoted]:
        """The places of treadle's own tables, `{intents}` among them."""
        return {
            "offsets": self.own("positions"),
            "entries": self.own("catalogue"),
            "schemas": self.own("schemas"),
            "intents": self.own("intents"),
        }

    def place(self, schema: str, relation: str) -> Quoted:
        """Return a relation's full name; of one that has a draft now, the name of the draft."""
        return super().place(schema, self.name_of(schema, relation))

    def name_of(self, schema: str, relation: str) -> str:
        """Return the name of a relation, or of its draft where it has one now."""
        return self._drafts.get((schema, relation), relation)

    @contextmanager
    def drafting(self, drafts: Mapping[RelationPlace, str]) -> Iterator[None]:
        """Have statements name the drafts of relations in place of these."""
        self._drafts = drafts
        try:
            yield
        finally:
            self._drafts = {}

    @abstractmethod
    def rename_relations(self, renames: Sequence[tuple[str, str, str]]) -> Iterator[Quoted]:
        """Give the statements by which relations get other names, and no reader misses one.

        Args:
            renames: schema, name and new name, in order; a name that an earlier one leaves may be
                taken.
        """
