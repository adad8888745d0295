"""Parses the bodies and parameters of the calls about destinations, or refuses them.

(connect-api.md 2.8, connect-rest.md A.2.2) Which properties there are is decided by the form of the
type (`treadle.destinations.form`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.control import errors
from treadle.control.lookups import parse_id
from treadle.control.requests import DISPLAY_NAME_CHARACTERS_MAX, parse_object

DESCRIPTION_CHARACTERS_MAX: Final = 2_000
"""Longest description. Every list repeats it; the bound is ours, the documentation names none."""

CREATE_KEYS: Final = frozenset(
    {"type", "name", "description", "properties", "ignore_unmapped_sources"}
)
FILTER_NAMES: Final = frozenset({"source_id", "destination_id"})


@dataclass(frozen=True, slots=True)
class DestinationCreation:
    """A request to create a destination.

    Attributes:
        properties: not checked yet.
        name: None for the default one.
        takes_sources: sources without a destination are mapped to it.
    """

    type: str
    properties: Mapping[str, Any]
    name: str | None
    description: str | None
    takes_sources: bool


@dataclass(frozen=True, slots=True)
class DestinationFilter:
    """Which destinations a list has.

    Attributes:
        source_id: only that of this source; 0, which no source has, for a text that is no id.
        destination_id: only this one, as above.
    """

    source_id: int | None = None
    destination_id: int | None = None


def parse_destination_filter(parameters: Iterable[tuple[str, str]]) -> DestinationFilter:
    """Parse the parameters of `GET /v4/destinations`.

    Raises:
        RequestRefusedError: there is another one.
    """
    values = dict(parameters)
    if not values.keys() <= FILTER_NAMES:
        raise errors.invalid_destination_params()
    return DestinationFilter(**{name: parse_id(text) or 0 for name, text in values.items()})


def parse_destination_creation(raw: bytes) -> DestinationCreation:
    """Parse the body of `POST /v4/destinations`.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = parse_object(raw)
    if body is None or not body.keys() <= CREATE_KEYS:
        raise errors.invalid_destination_body()
    type_, properties = body.get("type"), body.get("properties")
    ignores = body.get("ignore_unmapped_sources", False)
    if not (isinstance(type_, str) and type_ and isinstance(properties, dict)):
        raise errors.invalid_destination_body()
    if not isinstance(ignores, bool):
        raise errors.invalid_destination_body()
    name, description = body.get("name"), body.get("description")
    if not (name is None or _is_label(name, DISPLAY_NAME_CHARACTERS_MAX)) or not (
        description is None
        or (isinstance(description, str) and len(description) <= DESCRIPTION_CHARACTERS_MAX)
    ):
        raise errors.invalid_destination_body()
    return DestinationCreation(type_, properties, name, description, takes_sources=not ignores)


def parse_destination_update(raw: bytes) -> Mapping[str, Any]:
    """Parse the body of `PUT /v4/destinations/{id}` into the properties that are to change.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = parse_object(raw)
    if body is not None and "type" in body:
        raise errors.destination_type_is_fixed()
    properties = None if body is None else body.get("properties")
    if body is None or body.keys() != {"properties"} or not isinstance(properties, dict):
        raise errors.invalid_destination_update()
    return properties


def _is_label(value: object, characters_max: int) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= characters_max
