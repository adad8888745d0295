r"""Quotes texts that a client chose for the files of a dbt project.

dbt renders such a file with Jinja before it reads YAML values or runs SQL. So a name that begins
`{{` would be run as a program. What Jinja could take for its own becomes a string of Jinja,
`{{ '\x7b\x7b' }}`, which renders as the name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

YamlValue = str | int | bool | None | Sequence["YamlValue"] | Mapping[str, "YamlValue"]
"""What `write_yaml` writes."""

_HARMLESS: Final = re.compile(r"[^{}\\\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ufeff]*")
"""Texts that Jinja leaves alone, and in which every character can be seen."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YAML_WORDS: Final = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_YAML_UNPRINTABLE: Final = re.compile(
    r"[^\x20\x21\x23-\x5b\x5d-\x7e\xa1-\xac\xae-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
    r"\U00010000-\U0010ffff]"
)
"""Characters that a text in double quotes has as escapes."""


def quote_identifier(name: str) -> str:
    """Return a name as SQL in a file that Jinja renders, whatever the name is."""
    return protect_text('"' + name.replace('"', '""') + '"')


def protect_text(text: str) -> str:
    """Return what Jinja renders as a text."""
    if _HARMLESS.fullmatch(text):
        return text
    return "{{ '" + "".join(map(_escape_jinja, text)) + "' }}"


def _escape_jinja(character: str) -> str:
    number = ord(character)
    if character != "'" and _HARMLESS.fullmatch(character):
        return character
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def is_plain_name(name: str) -> bool:
    """Return whether a name needs no escape in SQL between quotes, Jinja or YAML."""
    return _PLAIN.fullmatch(name) is not None


def write_yaml(value: Mapping[str, YamlValue]) -> str:
    """Return a mapping as YAML in block style, with a line feed at its end.

    Texts are in double quotes where they are not plain words, with the escapes that JSON has as
    well. Nothing is left to guess: a parser of YAML 1.1 reads what one of 1.2 reads.
    """
    return "".join(f"{line}\n" for line in _write_mapping(value))


def _write_mapping(value: Mapping[str, YamlValue]) -> Iterator[str]:
    for name, inner in value.items():
        yield from _write_entry(f"{_write_scalar(name)}:", inner)


def _write_entry(head: str, value: YamlValue) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from (f"  {line}" for line in _write_mapping(value))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield head
        yield from (f"  {line}" for line in _write_list(value))
    else:
        yield f"{head} {_write_scalar(value)}"


def _write_list(value: Sequence[YamlValue]) -> Iterator[str]:
    for element in value:
        if isinstance(element, Mapping) and element:
            lines = _write_mapping(element)
        elif isinstance(element, Sequence) and not isinstance(element, str) and element:
            lines = _write_list(element)
        else:
            lines = iter((_write_scalar(element),))
        yield f"- {next(lines)}"
        yield from (f"  {line}" for line in lines)


def _write_scalar(value: YamlValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            if _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
                return value
            return '"' + _YAML_UNPRINTABLE.sub(_escape_yaml, value) + '"'
        case Mapping():
            return "{}"
        case _:
            return "[]"


def _escape_yaml(found: re.Match[str]) -> str:
    character = found[0]
    if character in '"\\':
        return f"\\{character}"
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}"
