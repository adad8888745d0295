"""Decoding of a batch's records into Python values, for the loader."""

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.records import json_decoder
from treadle.records.message_batch import MessageBatch
from treadle.records.transit import encoding


def read_records(batch: MessageBatch, *, exact: bool = False) -> list[dict[str, Any]]:
    """Decode the records of a batch, in order.

    The values are dict, list, str, int of any size, bool and None. A number with a fraction or an
    exponent is a float, or `HugeNumber` (a Decimal with its literal) where a double cannot hold it.
    A Transit batch also has `datetime.datetime` in UTC, `DistantInstant` outside the years 1 to
    9999, `Decimal` for decimals, and the floats NaN and infinity.

    Args:
        batch: what was accepted.
        exact: give JSON numbers with a fraction or an exponent as Decimal.
    """
    if batch.form == "transit":
        return encoding.decode_records(batch.data)
    return json_decoder.decode_json(batch.data, exact=exact)  # type: ignore[no-any-return]  # objects by check


def extract_texts(batch: MessageBatch, indexes: Iterable[int]) -> list[str]:
    """Return the JSON texts of single records as sent; for a Transit batch, equivalent JSON.

    Args:
        batch: what was accepted.
        indexes: which records, counted from 0.
    """
    if batch.form == "transit":
        return encoding.render_texts(batch.data, indexes)
    try:
        slices = json_decoder.decode_slices(batch.data)
        return [str(bytes(slices[index]), "utf-8") for index in indexes]
    except msgspec.DecodeError:
        return _extract_texts_with_lone_surrogates(batch.data, list(indexes))


def _extract_texts_with_lone_surrogates(data: bytes, indexes: list[int]) -> list[str]:
    sent = []
    end = 0
    for piece in json_decoder.decode_slices(json_decoder.repair_json(data)):
        # Elements stand one after the other with one comma between them (`join_json_array`).
        start = end + 1
        end = start + len(piece)
        sent.append(data[start:end])
    return [str(sent[index], "utf-8") for index in indexes]
