"""The generated key of tables without one (loading.md 2.5).

A UUID of version 8 made from the log, the position of the entry and the index in it, so that a
repeated load gives the same rows. Its 122 free bits are 48 of the log's digest, 54 of the position
and 20 of the index.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from treadle.errors import InternalError

_INDEX_BITS = 20
_POSITION_BITS = 54


@lru_cache(maxsize=4)
def _format_indexes(count: int) -> list[str]:
    return [f"{index:05x}" for index in range(count)]


def _format_position(log: int, position: int) -> str:
    if not 0 <= position < 1 << _POSITION_BITS:
        raise InternalError(f"A log position fits {_POSITION_BITS} bits; found {position}.")
    low = position & ((1 << 42) - 1)
    return (
        f"{log >> 16:08x}-{log & 0xFFFF:04x}-8{position >> 42:03x}-"
        f"{0x8000 | low >> 28:04x}-{low & 0xFFFFFFF:07x}"
    )


def generate_keys(
    log_id: str, positions: Sequence[int], entries: Sequence[int], indexes: Sequence[int]
) -> list[str]:
    """Make one UUID text per record.

    Args:
        log_id: name of the log.
        positions: of the load's entries.
        entries: of each record, the index of its entry in `positions`.
        indexes: of each record, its index in the entry.
    """
    log = int.from_bytes(hashlib.sha256(log_id.encode()).digest()[:6], "big")
    heads = [_format_position(log, position) for position in positions]
    count = max(indexes, default=-1) + 1
    if count > 1 << _INDEX_BITS:
        raise InternalError(f"An entry holds at most {1 << _INDEX_BITS} records; found {count}.")
    tails = _format_indexes(1 << max(count - 1, 0).bit_length())
    return [heads[entry] + tails[index] for entry, index in zip(entries, indexes, strict=True)]
