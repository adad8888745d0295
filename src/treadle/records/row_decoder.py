"""Records that have one shape, decoded without a dictionary for each: in half the time.

A shape is a list of keys. Its decoder takes an array of objects that have no other keys, and gives
rows: objects with one attribute for each key, None where the key is missing, as it is for null.
Everything else about a value is as `json.decode` gives it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from treadle.records import json_decoder
from treadle.records.message_batch import MessageBatch

KEYS_MAX: Final = 256
"""Keys of a shape: each costs the decoder about a hundred bytes."""
_CHARACTERS_MAX: Final = 16_384
"""Length of the keys together; decoders are kept, and what is sent must not fill memory."""
_DECODERS_KEPT: Final = 256

SPARSE_FACTOR: Final = 4
"""A record has on average at least one of so many keys of its shape."""

RECORDS_MIN: Final = 32
"""Fewer records of an entry are read as dictionaries: the rows of a slice stay of one kind."""


class RowDecoder:
    """Objects with some of these keys and no other."""

    __slots__ = ("_decode", "keys")

    def __init__(self, keys: Sequence[str], read: Callable[[bytes], list[Any]]) -> None:
        self.keys = tuple(keys)
        self._decode = read

    def decode_rows(self, data: bytes) -> list[Any] | None:
        """The rows of a JSON array text, or None when it holds anything else than such objects."""
        try:
            return self._decode(data)
        except json_decoder.SYNTAX_ERRORS:
            return None

    def transpose_rows(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The values of each key; there is at least one row."""
        return list(zip(*map(astuple, rows), strict=True))


def get_row_decoder(keys: Sequence[str], *, exact: bool) -> RowDecoder | None:
    """The shape with these keys; None when they are too many or no struct can have them.

    Args:
        keys: each once.
        exact: see `reading.read`.
    """
    if not keys or len(keys) > KEYS_MAX or sum(map(len, keys)) > _CHARACTERS_MAX:
        return None
    return _make_row_decoder(tuple(keys), exact)


@lru_cache(maxsize=_DECODERS_KEPT)
def _make_row_decoder(keys: tuple[str, ...], exact: bool) -> RowDecoder | None:
    attributes = _make_attribute_names(keys)
    try:
        kind = msgspec.defstruct(
            "Row",
            [(attribute, Any, None) for attribute in attributes],
            rename=dict(zip(attributes, keys, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
    except ValueError:  # quotes, backslashes, control characters, surrogates without a half
        return None
    # The type is made at run time, so the type checker cannot know it.
    return RowDecoder(keys, json_decoder.make_decoder(list[kind], exact=exact))  # type: ignore[valid-type]


def _make_attribute_names(keys: Sequence[str]) -> list[str]:
    return [f"f{number}" for number in range(len(keys))]


class ShapePredictor:
    """The shape that an entry's records may have, going by those of earlier entries."""

    def __init__(self, *, exact: bool, allowed: Callable[[Sequence[str]], bool]) -> None:
        """Know nothing.

        Args:
            exact: see `reading.read`.
            allowed: whether records with these keys may be read so.
        """
        self._exact = exact
        self._allowed = allowed
        self._keys: dict[str, None] = {}
        self._decoder: RowDecoder | None = None
        self._record_count = self._value_count = 0
        self._miss_count = self._hit_count = 0

    def decode_rows(self, batch: MessageBatch) -> tuple[RowDecoder, list[Any]] | None:
        """The batch's shape and rows; None when it has to be read as dictionaries."""
        if self._decoder is None or len(batch) < RECORDS_MIN:
            return None
        found = self._decoder.decode_rows(batch.data)
        if found is None:
            self._miss_count += 1
            return None
        self._hit_count += 1
        return self._decoder, found

    def learn_keys(self, records: Sequence[dict[str, Any]]) -> None:
        """Note the keys of records that were read as dictionaries."""
        if self._miss_count > 4 + self._hit_count:
            self._decoder = None
            return
        before = len(self._keys)
        self._keys.update(dict.fromkeys(chain.from_iterable(records)))
        self._record_count += len(records)
        self._value_count += sum(map(len, records))
        if len(self._keys) == before and self._decoder is not None:
            return
        keys = tuple(self._keys)
        dense = self._value_count * SPARSE_FACTOR >= self._record_count * len(keys)
        self._decoder = (
            get_row_decoder(keys, exact=self._exact) if dense and self._allowed(keys) else None
        )
