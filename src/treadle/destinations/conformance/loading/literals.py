"""JSON that keeps the spelling of its numbers: a case says `10.0` or `1e400` on purpose."""

import json
from typing import Any


class Number(float):
    """A number with fraction or exponent, and how it was spelled."""

    text: str

    def __new__(cls, text: str) -> "Number":
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads(text: str) -> Any:
    """Python values; numbers with fraction or exponent are `Number`."""
    return json.loads(text, parse_float=Number)


def dumps(value: Any) -> str:
    """JSON text with every number spelled as it was read."""
    match value:
        case Number():
            return value.text
        case dict():
            pairs = (f"{json.dumps(key)}:{dumps(item)}" for key, item in value.items())
            return "{" + ",".join(pairs) + "}"
        case list() | tuple():
            return "[" + ",".join(map(dumps, value)) + "]"
        case _:
            return json.dumps(value)
