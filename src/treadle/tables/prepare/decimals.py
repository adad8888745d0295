"""Decimals as a destination holds them (loading.md 3.3)."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

from treadle.tables.profile import DestinationProfile

_DECIMAL_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SPECIAL_TEXT = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
DIGITS_MAX = 1_000
"""Most digits after the point that are written out."""

_WIDE_CONTEXT = Context(prec=200_000, Emax=999_999_999, Emin=-999_999_999, rounding=ROUND_HALF_UP)


def parse_decimal(text: str) -> Decimal | None:
    """Return the number that a text stands for, NaN and infinities too; None for no number."""
    if _DECIMAL_TEXT.fullmatch(text):
        try:
            return Decimal(text)
        except InvalidOperation:  # an exponent beyond what a Decimal holds
            tail = text.lower().rpartition("e")[2]
            return Decimal(0) if tail.startswith("-") else Decimal("Infinity")
    if _SPECIAL_TEXT.fullmatch(text):
        return Decimal(text)
    return None


def fit_decimal(value: Decimal, profile: DestinationProfile) -> Decimal | None:
    """Return a decimal as a column holds it, rounded half up; None when it is out of range."""
    if not value.is_finite() or not profile.decimal_fits(value):
        return None
    scale = profile.decimal_scale_max
    exponent = value.as_tuple().exponent
    if scale is not None and isinstance(exponent, int) and -exponent > scale:
        value = value.quantize(Decimal(1).scaleb(-scale), context=_WIDE_CONTEXT)
        if not profile.decimal_fits(value):
            return None
    return value


def has_finer_digits(value: Decimal, scale: int | None) -> bool:
    """Return whether a decimal has digits, other than 0, behind the last that a column holds.

    Args:
        value: the decimal.
        scale: digits after the point that the column holds; None for no bound.
    """
    if scale is None or not value.is_finite() or value.is_zero():
        return False
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or -exponent <= scale:
        return False
    beyond = -exponent - scale
    return any(digits[max(len(digits) - beyond, 0) :])


def format_decimal(value: Decimal) -> str:
    """Write a finite decimal in digits, or with an exponent where they would be very many."""
    exponent = value.as_tuple().exponent
    plain = isinstance(exponent, int) and -DIGITS_MAX <= exponent <= 0
    return format(value, "f") if plain else str(value)


def format_integer(value: int) -> str:
    """Write an integer of any size in digits; `str` refuses very long ones."""
    return format(Decimal(value), "f")
