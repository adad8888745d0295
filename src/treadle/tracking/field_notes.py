"""Fields that a load left out or rounded, as its report keeps them and as requests are told.

A load takes many requests, and most of them have the same fields. So a note has runs: entries that
follow each other in the load with the same number of records or values.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # a process that only accepts records reads the notes and makes none
    from treadle.tables.model import FieldNote

TEXT_MAX: Final = 500
"""Characters of a name or a reason that are kept."""

RUNS_MAX: Final = 100
"""Runs that are kept of a field; with more of them it is not known which requests it is in."""

NOTES_MAX: Final = 200
"""Fields that are kept of a load."""

Run = tuple[int, int, int]
"""Positions of the first and the last entry, and the number in each of them."""


def encode_notes(notes: "Sequence[FieldNote]", positions: Sequence[int]) -> list[dict[str, Any]]:
    """Return what a load report keeps of some notes.

    Args:
        notes: of the plan.
        positions: of the entries of the load.
    """
    found = []
    for note in notes[:NOTES_MAX]:
        runs = find_runs(note.counts, positions)
        found.append(
            {
                "table": note.table[:TEXT_MAX],
                "field": note.field[:TEXT_MAX],
                "reason": note.reason[:TEXT_MAX],
                "total": note.total,
                "runs": None if runs is None else list(map(list, runs)),
            }
        )
    return found


def find_runs(counts: Mapping[int, int], positions: Sequence[int]) -> list[Run] | None:
    """Return the runs of entries with the same number; None for too many.

    Args:
        counts: index of the entry in the load -> number.
        positions: of the entries of the load.
    """
    runs: list[Run] = []
    before = -2
    for entry in sorted(counts):
        count, position = counts[entry], positions[entry]
        if runs and entry == before + 1 and runs[-1][2] == count:
            runs[-1] = (runs[-1][0], position, count)
        else:
            runs.append((position, position, count))
        before = entry
    return runs if len(runs) <= RUNS_MAX else None


def render_left_out(notes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that a load left out, for its report."""
    return [
        {
            "table": note["table"],
            "field": note["field"],
            "reason": note["reason"],
            "records": note["total"],
        }
        for note in notes
    ]


def render_rounded(notes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields of which a load rounded values, for its report."""
    return [
        {"table": note["table"], "field": note["field"], "values": note["total"]} for note in notes
    ]


def select_notes(notes: Sequence[Mapping[str, Any]], position: int) -> list[dict[str, Any]]:
    """Return the notes of one entry, with its own number as `total`.

    The number is None where the report does not tell which entries a note is of.
    """
    found: list[dict[str, Any]] = []
    for note in notes:
        runs = note["runs"]
        if runs is None:
            found.append({**note, "total": None})
            continue
        for first, last, count in runs:
            if first <= position <= last:
                found.append({**note, "total": count})
                break
    return found
