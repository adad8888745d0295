"""The records of a batch as Python values, for the loader."""

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.records import json, typed
from treadle.records.message import Batch

_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read(batch: Batch, *, exact: bool = False) -> list[dict[str, Any]]:
    """Decode the records of a batch, in order.

    Values by type: dict, list, str, int of any size, bool, None, and for numbers with a fraction
    or an exponent float, or `json.Huge` (a Decimal with its literal) where a double cannot hold
    the number. In a Transit batch also `datetime.datetime` in UTC, `typed.Instant` outside the
    years 1 to 9999, `Decimal` for decimals, and the floats NaN and infinity.

    Args:
        batch: what was accepted.
        exact: give JSON numbers with a fraction or an exponent as Decimal.
    """
    if batch.form == "transit":
        return typed.decode(batch.data)
    return json.decode(batch.data, exact=exact)  # type: ignore[no-any-return]  # objects by check


def texts(batch: Batch, indexes: Iterable[int]) -> list[str]:
    """JSON texts of single records, as sent; for a Transit batch as JSON says the same.

    Args:
        batch: what was accepted.
        indexes: which records, counted from 0.
    """
    if batch.form == "transit":
        return typed.texts(batch.data, indexes)
    try:
        slices = _slices(batch.data)
        return [str(bytes(slices[index]), "utf-8") for index in indexes]
    except msgspec.DecodeError:
        return _texts_with_lone_surrogates(batch.data, list(indexes))


def _texts_with_lone_surrogates(data: bytes, indexes: list[int]) -> list[str]:
    sent = []
    end = 0
    for piece in _slices(json.repair(data)):
        # Elements stand one after the other with one comma between them (`gather.array`).
        start = end + 1
        end = start + len(memoryview(piece))
        sent.append(data[start:end])
    return [str(sent[index], "utf-8") for index in indexes]
