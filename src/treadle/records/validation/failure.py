"""The tree of what is wrong with a value, and its text (import-api.md 10.2, 10.3).

The text can be far larger than the value: it names the place of each failure in full, in causes
with one more escape for every level. So nothing of it is written before it is asked for, and then
only as much as an answer may have.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from treadle.records.validation import java_format

TEXT_BYTES_MAX: Final = 64 * 1024
"""Most bytes of a text in an answer, as JSON; the rest of a longer one is counted, not sent."""

_encode_json = msgspec.json.Encoder().encode

Path = list["ValidationFailure"]


class ValidationFailure:
    """One node of the tree: where, what, and why.

    Attributes:
        parts: what is wrong: strings as they are, and values that are formatted when it is written.
        causes: failures that make this one up; none for a leaf.
        leaves: the number of failures without causes, in this tree.
        lines: the number of failures in this tree.
        names: where it is, from the value that was checked outwards; causes are further inside.
    """

    __slots__ = ("causes", "leaves", "lines", "names", "parts")

    def __init__(self, *parts: Any, causes: "Sequence[ValidationFailure]" = ()) -> None:
        self.parts = parts
        self.causes = causes
        self.names: list[str] = []
        self.leaves: int = sum(cause.leaves for cause in causes) or 1
        self.lines: int = sum(cause.lines for cause in causes) + 1

    def move_inside(self, name: str) -> "ValidationFailure":
        """Extend the pointer, as seen from the container that holds the value under a name."""
        self.names.append(name)
        return self

    def format_lines(self, bytes_max: int = TEXT_BYTES_MAX) -> Iterator[str]:
        """Yield a line for every node, parents before their causes, each with its line break.

        Lines that would make the text longer than `bytes_max` are left out, and the last line says
        how many. If already the first one would, it is cut.
        """
        room = bytes_max
        written = 0
        path: Path = []
        waiting: list[tuple[int, ValidationFailure]] = [(0, self)]
        while waiting:
            depth, failure = waiting.pop()
            del path[depth:]
            path.append(failure)
            line = _format_line(path, room)
            if _measure_text(line) > room:
                if not written:
                    yield f"{cut_text(line, bytes_max - 1)}\n"
                    written = 1
                if self.lines > written:
                    yield f"and {self.lines - written:,} more\n"
                return
            yield line
            written += 1
            room -= _measure_text(line)
            waiting += ((depth + 1, cause) for cause in reversed(failure.causes))


def combine_failures(failures: list[ValidationFailure]) -> ValidationFailure | None:
    """Combine the failures of one object or array: none, the only one, or a node above them."""
    if len(failures) <= 1:
        return failures[0] if failures else None
    count = sum(failure.leaves for failure in failures)
    return ValidationFailure(f"{count} schema violations found", causes=failures)


def cut_text(text: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """Return a text that takes at most so many bytes as JSON; dots stand for what is cut off."""
    if 6 * len(text) <= bytes_max or (size := _measure_text(text[: bytes_max + 1])) <= bytes_max:
        return text
    text = text[: bytes_max + 1]
    while size > bytes_max - 3:
        text = text[: min(len(text) * (bytes_max - 3) // size, len(text) - 1)]
        size = _measure_text(text)
    return f"{text}..."


def _measure_text(text: str) -> int:
    return len(_encode_json(text)) - 2


def _format_line(path: Path, room: int) -> str:
    """Return the line of the last failure of a path, or the beginning of one longer than `room`."""
    pointer = _format_pointer(path, room)
    if len(pointer) > room:
        return pointer
    texts = [pointer, ": "]
    for part in path[-1].parts:
        texts.append(part if type(part) is str else java_format.format_value(part))
        if len(texts[-1]) > room:
            texts[-1] = texts[-1][: room + 1]
            return "".join(texts)
    texts.append("\n")
    return "".join(texts)


def _format_pointer(path: Path, room: int) -> str:
    """Return the place of the last failure of a path, or the beginning of one beyond `room`.

    The original escapes a name once, and once more for every step down the tree of failures. Then
    `~` has become `~` with as many zeros, and `/` the same with a 1 for the last of them.
    """
    pointer = "#"
    for depth, failure in enumerate(path):
        zeros = "0" * (len(path) - 1 - depth)
        for name in reversed(failure.names):
            escaped = name[: room + 1].replace("~", f"~{zeros}0").replace("/", f"~{zeros}1")
            pointer = f"{pointer}/{escaped}"
            if len(pointer) > room:
                return pointer
    return pointer
