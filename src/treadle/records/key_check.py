"""Fast check that all records of a batch have their key fields."""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from treadle.records.json_decoder import SYNTAX_ERRORS
from treadle.records.limits import KEY_CHARACTERS_MAX

_KEY_NAMES_MAX = 16


def have_all_keys(
    key_names: tuple[str, ...], data: bytes, *, characters_max: int | None = None
) -> bool:
    """Return whether all records are objects that have a value other than null for each key name.

    Args:
        key_names: as sent.
        data: a valid JSON array text of records.
        characters_max: longest string value that is allowed; None for any length.

    Returns:
        False also when only the exact reader can tell.
    """
    # Decoders are kept, so they are made for sensible key names only: a client must not be able to
    # fill memory with them.
    if len(key_names) > _KEY_NAMES_MAX or sum(map(len, key_names)) > KEY_CHARACTERS_MAX:
        return False
    decode = _make_key_decoder(key_names, characters_max)
    if decode is None:
        return False
    try:
        decode(data)
    except SYNTAX_ERRORS:
        return False
    return True


@lru_cache(maxsize=1024)
def _make_key_decoder(
    key_names: tuple[str, ...], characters_max: int | None
) -> Callable[[bytes], object] | None:
    """Make a decoder of an array of objects that have these keys; it fails on any that has not.

    Return None for names that a struct cannot have: with quotes, backslashes, control characters,
    or surrogates without their other half.
    """
    text = Annotated[str, msgspec.Meta(max_length=characters_max)]
    value = text | int | float | bool | list[Any] | dict[str, Any]
    attributes = {f"key{number}": name for number, name in enumerate(dict.fromkeys(key_names))}
    fields = [(attribute, value) for attribute in attributes]
    try:
        kind = msgspec.defstruct("Keyed", fields, rename=attributes, gc=False)
    except ValueError:
        return None
    # The type is made at run time, so the type checker cannot know it.
    return msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
