"""Decimals as a destination holds them (loading.md 3.3)."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

from treadle.tables.profile import DestinationProfile

_DECIMAL_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SPECIAL_TEXT = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
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


def format_integer(value: int) -> str:
    """Write an integer of any size in digits; `str` refuses very long ones."""
    return format(Decimal(value), "f")
