"""Derives the name of a schema from a display name, and judges names (connect-api.md 4.1)."""

import re
from collections.abc import Iterable
from typing import Final

from treadle.destinations.reserved_schemas import is_reserved_schema

SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_$]{0,48}")
"""A legal name: under 50 characters, the first one a letter or an underscore."""

BUILD_NAME: Final = re.compile(r"[a-z0-9$]+(?:_[a-z0-9$]+)*")
"""What a schema to build in has behind that of its source and two underscores.

It has no two underscores of its own and none at an end. So of two sources no such names are alike,
and none is that of a rebuild that keeps nothing (`shop__replay`, `shop__replay_`).
"""

_DROPPED: Final = re.compile(r"[^a-z0-9_$]")
# Only ASCII is made lower case: str.lower() would turn signs such as U+212A into ASCII letters,
# and what is not ASCII vanishes.
_ASCII: Final = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ \t-",
    "abcdefghijklmnopqrstuvwxyz___",
)


def derive_schema_name(display_name: str) -> str:
    """Derive the name of a schema; `is_schema_name` says whether it is a legal one.

    Trimmed, lower case, blanks and hyphens as underscores; whatever else is not allowed vanishes.
    No counter is ever added.
    """
    return _DROPPED.sub("", display_name.strip().translate(_ASCII))


def is_schema_name(name: str, identities: Iterable[str] = ()) -> bool:
    """Return whether a schema of a source may have this name.

    Args:
        name: of the schema.
        identities: of the destinations that it is known to be made in, which may reserve the name
            beside those that every kind of destination reserves.
    """
    return SCHEMA_NAME.fullmatch(name) is not None and not is_reserved_schema(name, identities)


def is_build_schema(
    name: str, source_schema: str, taken: Iterable[str], identities: Iterable[str] = ()
) -> bool:
    """Return whether an account may have a table of its source built in this schema, and kept.

    Args:
        name: of the schema.
        source_schema: of the source; the name begins with it.
        taken: the schemas of all sources.
        identities: of the destination, see `is_schema_name`.
    """
    prefix = f"{source_schema}__"
    own = name.removeprefix(prefix)
    return (
        name.startswith(prefix)
        and own != "replay"
        and BUILD_NAME.fullmatch(own) is not None
        and is_schema_name(name, identities)
        and name not in set(taken)
    )
