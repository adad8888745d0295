"""What the suite has to know of one kind of database, as data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

ODD_NAMES: Final = (
    "with space",
    'quo"te',
    "apos'trophe",
    "per%cent %s %(x)s",
    "{brace} {0}",
    "semi; DROP TABLE web.orders; --",
    '"; DROP SCHEMA web CASCADE; --',
    "dot.ted",
    "*",
    "dollar $1 ?",
    "back\\slash",
    "new\nline",
    "select",
    "1st",
    "emoji 🧵",
    "Ünï",
    "b" * 59,
    "entry",
    "c0",
    "t",
    "s",
)
"""Names of tables and columns that take part in a test each."""


@dataclass(frozen=True, slots=True)
class DestinationTraits:
    """How one kind of database answers where two may differ and both are right.

    Attributes:
        timestamp_microseconds: SQL for the exact microseconds since 1970 of `{column}`.
        duplicate_text: pattern for the database's words about a second row of a unique key.
        row_too_big: the reason why a row of 1,500 numbers is refused; None where it is taken.
        key_too_big: the reason why a key of 3,000 characters is refused; None where it is taken.
        nonfinite_doubles: whether a double column takes infinity and "not a number".
        timestamps_beyond: whether a timestamp column holds years before 1 and beyond 9999.
        timestamp_type: the type of a timestamp column, of a table that a test makes.
        text_type: the type of a column of short texts, of a table that a test makes.
        index_text: how an index names the text column `{column}`.
        schema_word: what CREATE calls a schema.
        table_options: what follows the columns of a table that a test makes and that has no key.
        nullable: a type, `{type}`, of a column that takes NULL.
        update: a statement that sets columns, `{changes}`, of all rows of `{table}`.
        has_indexes: whether a user can make an index.
        constrains_key: whether the key of a table is what its PRIMARY KEY says.
        index_options: what follows the columns of an index.
        has_constraints: whether a column of the user's can have to be given.
        required: columns of a table with the key `id` that take no NULL.
        columns_besides: columns that a table with a key has for the database itself.
        views_follow: whether a view shows NULL in a column that took none when it was made.
        is_nullable: what the information schema says of a column that takes no NULL, and of others.
        default_text: what a new row has in a column of the user's with the default 'none'.
        enforces_unique: whether a unique index of the user's refuses a row.
        spell: returns what is run in place of a statement of the suite's (`spelled`); None for
            itself.
        erase: a statement that removes `{schema}` and all that is in it.
        version: a statement that gives the version of the database.
        schemas_refused: schemas that the database under test has for itself, or cannot have.
        names_refused: those of `ODD_NAMES` that the profile replaces, because the database
            refuses them.
    """

    timestamp_microseconds: str
    duplicate_text: str = r"(?i)duplicate key"
    row_too_big: str | None = None
    key_too_big: str | None = None
    nonfinite_doubles: bool = True
    timestamps_beyond: bool = True
    timestamp_type: str = "TIMESTAMPTZ"
    text_type: str = "VARCHAR"
    index_text: str = "{column}"
    schema_word: str = "SCHEMA"
    table_options: str = ""
    nullable: str = "{type}"
    update: str = "UPDATE {table} SET {changes}"
    has_indexes: bool = True
    constrains_key: bool = True
    index_options: str = ""
    has_constraints: bool = True
    required: frozenset[str] = frozenset({"id"})
    columns_besides: tuple[str, ...] = ()
    views_follow: bool = True
    is_nullable: tuple[str, str] = ("NO", "YES")
    default_text: str | None = "none"
    enforces_unique: bool = True
    spell: Callable[[str], Sequence[str]] | None = None
    erase: str = "DROP SCHEMA {schema} CASCADE"
    version: str = "SELECT version()"
    schemas_refused: frozenset[str] = frozenset()
    names_refused: frozenset[str] = frozenset()
