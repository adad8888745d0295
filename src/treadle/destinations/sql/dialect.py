"""The SQL of one kind of database: names, types and the few statements that differ.

Most of a dialect is data: templates that can be read as SQL.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, LiteralString

from treadle.destinations.layout import PRIVATE_SCHEMA, order_key
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.profile import DestinationProfile
from treadle.timestamps import to_datetime


class SqlDialect(ABC):
    """The SQL of one kind of database.

    Attributes:
        profile: its answers to the loading rules.
        types: logical type -> type in CREATE TABLE (loading.md 3.2).
        logical_types: type as the database's own catalogue names it -> logical type.
        text_forms: logical type -> expression that writes a value `{name}` of it as the text that
            `tables.columns.converted` makes; a type that is left out is cast.
        instant_literal: a timestamp, `{text}` being date and time in UTC.
        microseconds: microseconds since 1970 of a timestamp column `{at}`.
        delete_matching: deletes the rows of `{target}`, as `{alias}`, for which rows of `{others}`
            meet `{condition}`. For those without an alias there, `{key}` are columns that tell
            such rows from all others, and `{its_key}` the same behind the alias.
        equals: condition that two values of keys, which are not NULL, are the same.
        differs: condition that two values differ, NULL being a value.
        empty_relation: removes all rows of `{target}`, inside a transaction.
        adds_several_columns: whether one ALTER TABLE may add several columns.
        transactional_ddl: whether a schema change is undone with its transaction. Where it is not,
            a load is made in steps (`SteppedDialect`).
        column_absent: what stands before a column that is added if it is not there.
        cast_as_text: a value `{value}` as text, whose type is `{type}`.
        comparable: a value `{value}` of a column that is none of a key, as it is compared with
            another one.
        schema_tables: name -> table that each schema of a source has beside `_sdc_rejected`.
        joins_fully: whether it knows FULL JOIN and FILTER.
        excepts_all: whether EXCEPT ALL counts how often a row is there.
        replaces_rows: an INSERT takes the place of the row that has its key, and there is no
            UPDATE.
        schema_word: what CREATE and DROP call a schema.
        update_matching: sets columns of the rows of `{target}`, as `t`, by `{assignments}`, for
            which a row of `{stage}`, as `s`, meets `{condition}`. For those without ON CONFLICT.
        qualifies_assigned: whether the columns in `{assignments}` stand behind the alias.
        locks_all: whether locks keep other processes from making a schema, too.
        begin: purpose of a transaction -> the statement that begins it. "lookup" writes temporary
            tables only, also in a session for reading; "snapshot" sees one state throughout.
        rights_to_prepare: advice to the operator what to grant where a schema `{schema}` or
            treadle's own `{own}` cannot be made; empty where nobody grants anything.
        before_prepare: a statement that keeps other sessions from making schemas until the
            transaction ends; empty where `IF NOT EXISTS` alone is safe.
        claims_rows: whether `claim_offset` and `claim_entry` make the row that they look for.
        claim_offset: position and fence that `{offsets}` holds for $1 (log), $2 (source) and $3
            (table key); $4 is the table's name. Nobody else changes them until the transaction
            ends, or their COMMIT fails.
        claim_entry: the same for the revision that `{entries}` holds for $1 (schema) and $2 (table
            key); $3 is the table's name.
        make_entry: makes the entry $3 (name), $4 (document) of a new table for $1 (schema) and $2
            (table key) with revision 1, and gives a row; none where there is one already. For those
            with `claims_rows`.
        claim_schema: installation, account and source that `{schemas}` holds for $1 (schema).
            Nobody gives it to another until the transaction ends.
        find_schema: a row when there is a schema $1.
        find_table: a row when there is a table $2 in schema $1.
        finds_all: whether `find_table` finds views and all else of the name as well, and costs less
            than `list_columns`.
        list_relations: names of the tables, views and sequences of schema $1.
        list_columns: (relation, column, type, in primary key) of those relations of schema $1
            whose names are `{names}`, in the columns' order; a relation without columns has one
            row with NULL for the column.
        find_key: the name of the primary key's constraint of table $2 in schema $1.
        clock: the server's time in microseconds since 1970; empty where it runs in this process.
    """

    profile: ClassVar[DestinationProfile]
    types: ClassVar[Mapping[ColumnType, Quoted]]
    logical_types: ClassVar[Mapping[Any, ColumnType]]
    text_forms: ClassVar[Mapping[ColumnType, LiteralString]] = {}
    instant_literal: ClassVar[LiteralString] = "TIMESTAMPTZ '{text}+00'"
    microseconds: ClassVar[LiteralString]
    delete_matching: ClassVar[LiteralString] = (
        "DELETE FROM {target} {alias} USING {others} WHERE {condition}"
    )
    equals: ClassVar[LiteralString] = "{one} = {two}"
    differs: ClassVar[LiteralString] = "{one} IS DISTINCT FROM {two}"
    empty_relation: ClassVar[LiteralString] = "DELETE FROM {target}"
    adds_several_columns: ClassVar[bool] = False
    transactional_ddl: ClassVar[bool] = True
    column_absent: ClassVar[Quoted] = Quoted("IF NOT EXISTS ")
    cast_as_text: ClassVar[LiteralString] = "CAST({value} AS {type})"
    comparable: ClassVar[LiteralString] = "{value}"
    schema_tables: ClassVar[Mapping[str, Relation]] = {}
    joins_fully: ClassVar[bool] = True
    excepts_all: ClassVar[bool] = True
    replaces_rows: ClassVar[bool] = False
    schema_word: ClassVar[Quoted] = Quoted("SCHEMA")
    locks_all: ClassVar[bool] = True
    update_matching: ClassVar[LiteralString] = (
        "UPDATE {target} t, {stage} s SET {assignments} WHERE {condition}"
    )
    qualifies_assigned: ClassVar[bool] = True
    begin: ClassVar[Mapping[str, Quoted]] = dict.fromkeys(
        ("load", "lookup", "snapshot"), Quoted("BEGIN TRANSACTION")
    )
    rights_to_prepare: ClassVar[str] = ""
    before_prepare: ClassVar[Quoted] = NOTHING
    claims_rows: ClassVar[bool] = False
    claim_offset: ClassVar[LiteralString] = (
        "SELECT position, fence FROM {offsets}"
        " WHERE log_id = $1 AND source_id = $2 AND table_key = $3"
    )
    claim_entry: ClassVar[LiteralString] = (
        "SELECT revision FROM {entries} WHERE schema_name = $1 AND table_key = $2"
    )
    make_entry: ClassVar[LiteralString] = ""
    finds_all: ClassVar[bool] = False
    claim_schema: ClassVar[LiteralString] = (
        "SELECT installation_id, account_id, source_id FROM {schemas} WHERE schema_name = $1"
    )
    find_schema: ClassVar[Quoted] = Quoted(
        "SELECT 1 FROM information_schema.schemata WHERE schema_name = $1"
    )
    find_table: ClassVar[Quoted] = Quoted(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2"
    )
    list_relations: ClassVar[Quoted] = Quoted(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = $1"
    )
    list_columns: ClassVar[LiteralString]
    find_key: ClassVar[Quoted] = Quoted(
        "SELECT constraint_name FROM information_schema.table_constraints"
        " WHERE constraint_type = 'PRIMARY KEY' AND table_schema = $1 AND table_name = $2"
    )
    clock: ClassVar[Quoted] = NOTHING

    @property
    def table_options(self) -> Quoted:
        """What follows the columns of CREATE TABLE."""
        return NOTHING

    @abstractmethod
    def quote(self, *parts: str) -> Quoted:
        """Return a name, or a name qualified by those before it, as SQL."""

    def quote_all(self, names: Iterable[str], alias: str = "") -> Quoted:
        """Return names with commas between, each behind an alias if one is given."""
        return join(
            ", ", (self.quote(alias, name) if alias else self.quote(name) for name in names)
        )

    def schema(self, schema: str) -> Quoted:
        """Return a schema's full name."""
        return self.quote(schema)

    def place(self, schema: str, relation: str) -> Quoted:
        """Return a relation's full name."""
        return self.quote(schema, relation)

    def own(self, relation: str) -> Quoted:
        """Return the full name of a relation of treadle's own schema."""
        return self.place(PRIVATE_SCHEMA, relation)

    @cached_property
    def own_tables(self) -> Mapping[str, Quoted]:
        """The places of `{offsets}`, `{entries}` and `{schemas}`, which every load names."""
        return {
            "offsets": self.own("positions"),
            "entries": self.own("catalogue"),
            "schemas": self.own("schemas"),
        }

    def define(self, columns: Iterable[Column], key: Collection[str] = ()) -> Quoted:
        """Return column definitions for CREATE TABLE.

        Args:
            columns: in order.
            key: names of those in the primary key, which some databases give another type.
        """
        return join(
            ", ",
            (
                compose(
                    "{name} {type}" if column.nullable else "{name} {type} NOT NULL",
                    name=self.quote(column.name),
                    type=self.types[column.type],
                )
                for column in columns
            ),
        )

    def define_key(self, key: tuple[str, ...]) -> Quoted:
        """Return what names the key behind the column definitions of CREATE TABLE."""
        if not key:
            return NOTHING
        return compose(", PRIMARY KEY ({key})", key=self.quote_all(order_key(key)))

    def describe_storage(self, relation: Relation) -> Quoted:
        """Return what follows the columns of CREATE TABLE for a relation."""
        return self.table_options

    def match(self, left: str, right: str, pairs: Iterable[tuple[str, str]]) -> Quoted:
        """Return the condition that column one of alias `left` is column two of `right`."""
        return join(
            " AND ",
            (
                compose(self.equals, one=self.quote(left, one), two=self.quote(right, two))
                for one, two in pairs
            ),
        )

    def instant(self, microseconds: int) -> Quoted:
        """Return a timestamp of the years 1 to 9999 as a literal."""
        moment = to_datetime(microseconds).replace(tzinfo=None)
        text = Quoted(moment.isoformat(sep=" ", timespec="microseconds"))
        return compose(self.instant_literal, text=text)

    def widen(self, column: Column, old: ColumnType) -> Quoted:
        """Return a column's values as those of its wider type."""
        if column.type is ColumnType.TEXT and old in self.text_forms:
            return compose(self.text_forms[old], name=self.quote(column.name))
        return compose(
            "CAST({name} AS {type})", name=self.quote(column.name), type=self.types[column.type]
        )
