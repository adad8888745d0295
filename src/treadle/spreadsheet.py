"""Cells that a spreadsheet would take for formulas (OWASP, CSV Injection)."""

from typing import Final

FORMULA_BEGINNINGS: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)
"""Characters with which a spreadsheet begins a formula."""


def disarm_formula(text: str) -> str:
    """Return a text with an apostrophe before it where a spreadsheet would take it for a formula.

    Numbers are not for this function: one below zero is no formula.
    """
    return f"'{text}" if text.startswith(FORMULA_BEGINNINGS) else text
