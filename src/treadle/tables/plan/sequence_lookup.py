"""The question for the sequences of some keys that a plan may need answered, and the answers.

A record that loses against a row of the table adds no column (loading.md L37). So a plan that would
change the table first asks for the sequences that its keys have there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle.tables.model import Relation


@dataclass(frozen=True, slots=True)
class SequenceLookup:
    """Ask `Session.sequences` with these.

    Attributes:
        relation: the root relation, live or staged.
        keys: one sequence of values per key column, in the order of `relation.key`.
        private: the relation is a stage.
    """

    relation: Relation
    keys: tuple[Sequence[Any], ...]
    private: bool


@dataclass(frozen=True, slots=True)
class KnownSequences:
    """Answers: (relation name, private) -> key -> its sequence, None for no such row."""

    answers: Mapping[tuple[str, bool], Mapping[tuple[Any, ...], int | None]] = field(
        default_factory=dict
    )

    def with_answer(
        self, lookup: SequenceLookup, sequences: Sequence[int | None]
    ) -> "KnownSequences":
        """Return these answers and those to a lookup."""
        place = (lookup.relation.name, lookup.private)
        found = dict(zip(zip(*lookup.keys, strict=True), sequences, strict=True))
        return KnownSequences({**self.answers, place: {**self.answers.get(place, {}), **found}})
