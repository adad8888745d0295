"""Gives tables names that dbt takes, each another one.

A name of dbt is a part of file names, of `ref` and `source`, and of what is made in the database.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from treadle.tables.names import byte_order

NAME_BYTES_MAX: Final = 63
"""Longest name of a relation and of a column in PostgreSQL."""

_DIGITS: Final = 6
_REPLACED: Final = re.compile(r"[^a-z0-9_]+")


def choose_names(wanted: Iterable[str]) -> dict[str, str]:
    """Return texts -> names of lower-case ASCII letters, digits and `_`, no two of them equal.

    A name is the text in lower case, with `_` for everything else. Where several texts would have
    one name, all have a digest at their end but the one that is the name itself. So it depends on
    the texts alone, and not on their order.
    """
    texts = sorted(set(wanted), key=byte_order)
    bare = {text: _make_bare_name(text) for text in texts}
    counts = Counter(bare.values())
    chosen = {
        text: name
        for text, name in bare.items()
        if len(name) <= NAME_BYTES_MAX and (name == text or counts[name] == 1)
    }
    taken = set(chosen.values())
    for text in texts:
        if text not in chosen:
            chosen[text] = append_digest(bare[text], text, taken)
            taken.add(chosen[text])
    return chosen


def join_names(first: str, second: str) -> str:
    """Return a text for `choose_names` whose name is two names with `__` between them.

    The space keeps `a` and `b__c` from `a__b` and `c`: no name has one.
    """
    return f"{first}_ {second}"


def _make_bare_name(text: str) -> str:
    name = _REPLACED.sub("_", text.lower())
    return name if name[:1].isalpha() or name[:1] == "_" else f"t_{name}"


def append_digest(name: str, original: str, taken: Collection[str]) -> str:
    """Return a name of at most 63 bytes that ends in some digits of a digest, and is not taken.

    Args:
        name: to begin with; it is cut where it is too long.
        original: what the digest is of.
        taken: names that others have, in lower case.
    """
    digits = hashlib.sha256(byte_order(original)).hexdigest()
    for count in range(_DIGITS, len(digits)):
        tail = f"_{digits[:count]}"
        cut = name.encode()[: NAME_BYTES_MAX - len(tail)].decode("utf-8", "ignore")
        if (found := cut + tail).lower() not in taken:
            return found
    raise AssertionError(original)
