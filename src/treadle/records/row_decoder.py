"""Decoding of records with the same keys into rows: twice as fast as a dictionary for each.

A row decoder has a list of keys. It takes an array of objects that have no other keys, and gives
rows: objects with one attribute per key, None where the key is missing, as for null. Everything
else about a value is as `json_decoder.decode_json` gives it.
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
"""Most keys of a decoder: each costs it about a hundred bytes."""
_CHARACTERS_MAX: Final = 16_384
"""Greatest length of all keys together: decoders are kept, and a client must not fill memory."""
_DECODERS_KEPT: Final = 256

SPARSE_FACTOR: Final = 4
"""A decoder pays if a record has on average at least one in so many of its keys."""

RECORDS_MIN: Final = 32
"""A batch with fewer records is read as dictionaries: the rows of a slice stay of one kind."""


class RowDecoder:
    """Decodes objects that have some of its keys and no other."""

    __slots__ = ("_decode", "keys")

    def __init__(self, keys: Sequence[str], read: Callable[[bytes], list[Any]]) -> None:
        self.keys = tuple(keys)
        self._decode = read

    def decode_rows(self, data: bytes) -> list[Any] | None:
        """Return the rows of a JSON array text, or None if it holds anything but such objects."""
        try:
            return self._decode(data)
        except json_decoder.SYNTAX_ERRORS:
            return None

    def transpose_rows(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the values of each key; there must be at least one row."""
        return list(zip(*map(astuple, rows), strict=True))


def get_row_decoder(keys: Sequence[str], *, exact: bool) -> RowDecoder | None:
    """Return the decoder with these keys; None if they are too many or no struct can have them.

    Args:
        keys: each once.
        exact: see `record_reader.read_records`.
    """
    if not keys or len(keys) > KEYS_MAX or sum(map(len, keys)) > _CHARACTERS_MAX:
        return None
    return _make_row_decoder(tuple(keys), exact)


@lru_cache(maxsize=_DECODERS_KEPT)
def _make_row_decoder(keys: tuple[str, ...], exact: bool) -> RowDecoder | None:
    attributes = [f"f{number}" for number in range(len(keys))]
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


class ShapePredictor:
    """Predicts the keys of a batch's records from those of earlier batches."""

    def __init__(self, *, exact: bool, allowed: Callable[[Sequence[str]], bool]) -> None:
        """Begin without any keys.

        Args:
            exact: see `record_reader.read_records`.
            allowed: tells whether records with these keys may be read as rows.
        """
        self._exact = exact
        self._allowed = allowed
        self._keys: dict[str, None] = {}
        self._decoder: RowDecoder | None = None
        self._record_count = self._value_count = 0
        self._miss_count = self._hit_count = 0

    def decode_rows(self, batch: MessageBatch) -> tuple[RowDecoder, list[Any]] | None:
        """Return the batch's decoder and rows; None if it has to be read as dictionaries."""
        if self._decoder is None or len(batch) < RECORDS_MIN:
            return None
        found = self._decoder.decode_rows(batch.data)
        if found is None:
            self._miss_count += 1
            return None
        self._hit_count += 1
        return self._decoder, found

    def learn_keys(self, records: Sequence[dict[str, Any]]) -> None:
        """Learn the keys of records that were read as dictionaries."""
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
