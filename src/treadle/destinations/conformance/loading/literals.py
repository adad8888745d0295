"""JSON that keeps the spelling of its numbers: a case says `10.0` or `1e400` on purpose."""

import json
from typing import Any


class SpelledNumber(float):
    """A number with fraction or exponent, and how it was spelled."""

    text: str

    def __new__(cls, text: str) -> "SpelledNumber":
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads(text: str) -> Any:
    """Python values; numbers with fraction or exponent are `SpelledNumber`."""
    return json.loads(text, parse_float=SpelledNumber)


def dumps(value: Any) -> str:
    """JSON text with every number spelled as it was read."""
    match value:
        case SpelledNumber():
            return value.text
        case dict():
            pairs = (f"{json.dumps(key)}:{dumps(item)}" for key, item in value.items())
            return "{" + ",".join(pairs) + "}"
        case list() | tuple():
            return "[" + ",".join(map(dumps, value)) + "]"
        case _:
            return json.dumps(value)
