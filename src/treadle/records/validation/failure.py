"""The tree of what is wrong with a value, and its text (import-api.md 10.2, 10.3)."""

from collections.abc import Iterator, Sequence


class ValidationFailure:
    """One node of the tree: where, what, and why.

    Attributes:
        pointer: `#` or `#/name/0`, from the value that was checked.
        text: what is wrong.
        causes: failures that make this one up; none for a leaf.
    """

    __slots__ = ("causes", "pointer", "text")

    def __init__(self, text: str, causes: "Sequence[ValidationFailure]" = ()) -> None:
        self.pointer = "#"
        self.text = text
        self.causes = causes

    def move_inside(self, name: str) -> "ValidationFailure":
        """Extend the pointer, as seen from the container that holds the value under a name."""
        escaped = name.replace("~", "~0").replace("/", "~1")
        self.pointer = f"#/{escaped}{self.pointer[1:]}"
        # The original escapes the escaped name once more for every step down the tree.
        for cause in self.causes:
            cause.move_inside(escaped)
        return self

    def count_leaves(self) -> int:
        """Count the failures without causes."""
        return sum(cause.count_leaves() for cause in self.causes) or 1

    def format_lines(self) -> Iterator[str]:
        """Yield a line for every node, parents before their causes, each with its line break."""
        yield f"{self.pointer}: {self.text}\n"
        for cause in self.causes:
            yield from cause.format_lines()


def combine_failures(failures: list[ValidationFailure]) -> ValidationFailure | None:
    """Combine the failures of one object or array: none, the only one, or a node above them."""
    if len(failures) <= 1:
        return failures[0] if failures else None
    count = sum(failure.count_leaves() for failure in failures)
    return ValidationFailure(f"{count} schema violations found", failures)
