"""Counts and sizes as a person reads them."""

from typing import Final

_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB", "PB")


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: `1 record`, `2,000 records`.

    Args:
        count: how many.
        noun: of one.
        plural: of several; None for the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_size(size: int) -> str:
    """Return a number of bytes with a unit and at most three figures: `57 MB`, `1.2 GB`.

    A unit is 1024 of the one before.
    """
    value = float(size)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == _UNITS[0]:
        return count_noun(size, "byte")
    return f"{value:.1f} {unit}" if abs(value) < 9.95 else f"{value:,.0f} {unit}"
