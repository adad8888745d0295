"""SQL statements, put together from literal texts and quoted names.

A statement is a literal template with `{part}` in it, so it can be read and searched as SQL. The
parts are `Quoted`: texts that a dialect made with its driver's own tool. `compose` takes nothing
else, so a name that a client chose never becomes a part of a statement unquoted.

Values travel beside the statement and stand in it as `$1`, `$2` and so on.
"""

from collections.abc import Iterable
from typing import LiteralString, NewType

Quoted = NewType("Quoted", str)
"""SQL text that holds no name or value that was not quoted."""

NOTHING = Quoted("")


def compose(template: LiteralString, **parts: Quoted) -> Quoted:
    """Return a literal template with each `{part}` filled in."""
    return Quoted(template.format(**parts))


def join(separator: LiteralString, parts: Iterable[Quoted]) -> Quoted:
    """Return the parts with a literal text between them."""
    return Quoted(separator.join(parts))


def join_conditions(*conditions: Quoted) -> Quoted:
    """Return the conditions joined by AND; empty ones are left out."""
    return Quoted(" AND ".join(f"({each})" for each in conditions if each))


def where(*conditions: Quoted) -> Quoted:
    """Return a WHERE clause for the conditions; nothing when all of them are empty."""
    joined = join_conditions(*conditions)
    return Quoted(f"WHERE {joined}") if joined else NOTHING


def number_values(first: int, count: int) -> Quoted:
    """Return the places of `count` values, `$first` and those after it, with commas between."""
    return Quoted(", ".join(f"${number:d}" for number in range(first, first + count)))
