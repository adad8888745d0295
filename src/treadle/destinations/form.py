"""The forms of destinations: the properties that a type has, and the URL that is made of them.

A client of the Connect API names a database by properties, a driver by a URL (connect-rest.md
A.2.2). Everything here is a function of values: nothing is opened or looked up.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from treadle.errors import TreadleError

TEXT: Final[Mapping[str, Any]] = {"type": "string"}
DIGITS: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^\d+$"}
BOOLEAN: Final[Mapping[str, Any]] = {
    "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^(true|false)$"}]
}
HOST: Final[Mapping[str, Any]] = {
    "anyOf": [
        {"type": "string", "format": "ipv4"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "format": "hostname"},
    ]
}

_JSON_TYPES: Final = {"boolean": bool, "object": dict}

TEXT_CHARACTERS_MAX: Final = 65_536
"""Most characters of a property: a file of certificates is the longest."""

# Underscores are not in the standard, and in the names of many containers.
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class PropertiesRefusedError(TreadleError):
    """Properties cannot be those of a destination.

    Attributes:
        names: of the properties that do not fit, are missing or are unknown.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"properties do not match schema: {', '.join(names)}")
        self.names = names


class TunnelRefusedError(TreadleError):
    """A way to the database is asked for that treadle does not have.

    Attributes:
        value: of `encryption_type`.
    """

    def __init__(self, value: str) -> None:
        super().__init__(f"encryption_type {value} is not supported")
        self.value = value


class PathRefusedError(TreadleError):
    """A file is asked for that is outside of the folder for DuckDB files."""

    def __init__(self) -> None:
        super().__init__("path is outside of the folder for DuckDB files")


@dataclass(frozen=True, slots=True)
class FormProperty:
    """A property that a destination of a type has.

    Attributes:
        is_credential: it is never shown.
        json_schema: what fits; the part of JSON Schema that `fits_schema` knows.
        default: its value where none is given; None for no value.
        takes_number: a whole number is taken as its digits.
        names_place: it says which server or file this is, so who changes it names the destination.
        guards_secrets: with another value the credentials would be sent to another server, or less
            well protected. So it is not changed beside credentials of somebody else.
    """

    name: str
    is_required: bool = True
    is_credential: bool = False
    json_schema: Mapping[str, Any] = field(default_factory=lambda: TEXT)
    default: str | None = None
    takes_number: bool = False
    names_place: bool = False
    guards_secrets: bool = False


class DestinationForm(Protocol):
    """The form of one type of destination."""

    @property
    def type(self) -> str:
        """The type, the word of the wire."""

    @property
    def properties(self) -> tuple[FormProperty, ...]:
        """Its properties, in the order in which they are asked for."""

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties that a URL has, credentials too."""

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties.

        Args:
            properties: as `merge_properties` returns them.
            former: the URL that it takes the place of; what no property says is kept of it.

        Raises:
            TunnelRefusedError, PathRefusedError: see there.
        """


@dataclass(frozen=True, slots=True)
class UrlForm:
    """The form of a type whose driver has no form of its own: its URL."""

    type: str

    @property
    def properties(self) -> tuple[FormProperty, ...]:
        """The URL."""
        schema = {"type": "string", "pattern": f"^{re.escape(self.type)}://.+$"}
        url = FormProperty(
            "url",
            is_credential=True,
            json_schema=schema,
            names_place=True,
            guards_secrets=True,
        )
        return (url,)

    def read_url(self, url: str) -> dict[str, str]:
        """Return the URL as the only property."""
        return {"url": url}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL that was given."""
        return properties["url"]


def merge_properties(
    form: DestinationForm, given: Mapping[str, object], former: str | None
) -> dict[str, str]:
    """Check the properties that somebody gives, and return all that the destination has then.

    Args:
        form: of its type.
        given: name -> value of JSON. null takes away a property that need not be there.
        former: the URL that it has; what is not given is kept. None for a new destination.

    Raises:
        PropertiesRefusedError: a property does not fit, is unknown, or is missing.
    """
    merged = {} if former is None else form.read_url(former)
    wrong = []
    for each in form.properties:
        if each.name not in given:
            if each.name not in merged and each.default is not None:
                merged[each.name] = each.default
            elif each.name not in merged and each.is_required and former is None:
                wrong.append(each.name)
            continue
        value = given[each.name]
        if value is None and not each.is_required:
            merged.pop(each.name, None)
            continue
        text = _to_text(each, value)
        if text is None:
            wrong.append(each.name)
        else:
            merged[each.name] = text
    known = {each.name for each in form.properties}
    wrong += [name for name in given if name not in known]
    if wrong:
        raise PropertiesRefusedError(tuple(wrong))
    return merged


def _to_text(asked: FormProperty, value: object) -> str | None:
    """Return the text of a value that fits, as it is kept and shown; None for one that does not."""
    if asked.takes_number and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not fits_schema(value, asked.json_schema):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value) if isinstance(value, Mapping) else str(value)
    if (asked.is_required and not text) or "\0" in text or len(text) > TEXT_CHARACTERS_MAX:
        return None
    if asked.json_schema == DIGITS and not 1 <= int(text[:6]) <= 65_535:
        return None  # a port
    return None if any("\ud800" <= character <= "\udfff" for character in text) else text


def fits_schema(value: object, schema: Mapping[str, Any]) -> bool:
    """Return whether a value fits a schema of anyOf, type, format and a pattern of all of it."""
    if "anyOf" in schema:
        return any(fits_schema(value, each) for each in schema["anyOf"])
    if schema.get("type") in _JSON_TYPES:
        return isinstance(value, _JSON_TYPES[schema["type"]])
    if not isinstance(value, str):
        return False
    pattern = schema.get("pattern")
    if pattern is not None and not re.fullmatch(pattern, value, re.ASCII):
        return False
    return _has_format(value, schema.get("format"))


def _has_format(text: str, format_: str | None) -> bool:
    if format_ is None:
        return True
    if format_ == "hostname":
        labels = text.removesuffix(".").split(".")
        return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    try:
        version = ipaddress.ip_address(text).version
    except ValueError:
        return False
    return format_ == f"ipv{version}"
