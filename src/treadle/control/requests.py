"""Parses request bodies into values, or refuses them (connect-api.md 2.5, 2.10).

Only what the body alone decides is checked here; `operations` checks what needs the store.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.control import errors
from treadle.control.responses import SOURCE_TYPES
from treadle.control.schema_names import derive_schema_name, is_schema_name
from treadle.control.times import instant
from treadle.errors import RequestRefusedError
from treadle.store.sources import UNSET, Unset

CONTROL_BODY_BYTES_MAX: Final = 1024 * 1024
"""Largest request body in bytes. The largest useful one has a few hundred."""

DISPLAY_NAME_CHARACTERS_MAX: Final = 255
"""Longest display name. Every list repeats it; the bound is ours, the documentation names none."""

CREATE_KEYS: Final = frozenset({"type", "display_name", "properties", "destination_id", "name"})
UPDATE_KEYS: Final = frozenset({"display_name", "properties", "paused_at", "destination_id"})


@dataclass(frozen=True, slots=True)
class SourceCreation:
    """A request to create a source.

    Attributes:
        name: of the source, legal for a schema in every kind of destination.
        derived: the name was made from the display name, not sent.
        properties: names of properties that were sent; none may be set.
        destination_id: None for the account's default.
    """

    type: str
    display_name: str
    name: str
    derived: bool
    properties: tuple[str, ...]
    destination_id: int | None

    def make_reserved_error(self) -> RequestRefusedError:
        """Return the refusal for a name that the destination keeps for itself."""
        if self.derived:
            return errors.underivable_name(self.display_name, self.name)
        return errors.invalid_name()

    def make_name_taken_error(self) -> RequestRefusedError:
        """Return the refusal for a name that is in use; it says where the name came from."""
        if self.derived:
            return errors.derived_name_taken(self.display_name, self.name)
        return errors.name_taken(self.name)


@dataclass(frozen=True, slots=True)
class SourceUpdate:
    """The changes of a source that a client asks for; everything may be left out.

    Attributes:
        paused_at: microseconds since 1970; None unpauses.
        properties: names of properties that were sent; none may be set.
        destination_id: None for the account's default.
    """

    display_name: str | Unset
    paused_at: int | Unset | None
    destination_id: int | Unset | None
    properties: tuple[str, ...]


def parse_creation(raw: bytes) -> SourceCreation:
    """Parse the body of `POST /v4/sources`.

    The order of the checks is that of connect-api.md 2.5: body, type, name.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = parse_object(raw)
    if body is None or not body.keys() <= CREATE_KEYS:
        raise errors.invalid_create_body()
    type_, display_name = body.get("type"), body.get("display_name")
    properties = body.get("properties", {})
    destination_id = body.get("destination_id")
    if not (isinstance(type_, str) and type_ and isinstance(display_name, str) and display_name):
        raise errors.invalid_create_body()
    if not (isinstance(properties, dict) and all(isinstance(v, str) for v in properties.values())):
        raise errors.invalid_create_body()
    if not _is_id_or_null(destination_id):
        raise errors.invalid_create_body()
    if type_ not in SOURCE_TYPES:
        raise errors.unknown_source_type(type_)
    if "name" in body:
        name = body["name"]
        if not (isinstance(name, str) and is_schema_name(name)):
            raise errors.invalid_name()
    else:
        name = derive_schema_name(display_name)
        if not is_schema_name(name):
            raise errors.underivable_name(display_name, name)
    if not _is_storable(display_name):
        raise errors.invalid_display_name(display_name)
    return SourceCreation(
        type=type_,
        display_name=display_name,
        name=name,
        derived="name" not in body,
        properties=tuple(properties),
        destination_id=destination_id,
    )


def parse_update(raw: bytes) -> SourceUpdate:
    """Parse the body of `PUT /v4/sources/{id}`.

    Raises:
        RequestRefusedError: with the documented answer.
    """
    body = parse_object(raw)
    if body is None or not body.keys() <= UPDATE_KEYS:
        raise errors.invalid_update_body()
    properties = body.get("properties", {})
    if not isinstance(properties, dict) or not _is_id_or_null(body.get("destination_id")):
        raise errors.invalid_update_body()
    paused_at = body.get("paused_at", UNSET)
    if isinstance(paused_at, str):
        paused_at = instant(paused_at)
        if paused_at is None:
            raise errors.invalid_update_body()
    elif not isinstance(paused_at, Unset) and paused_at is not None:
        raise errors.invalid_update_body()
    display_name = body.get("display_name", UNSET)
    if not isinstance(display_name, Unset) and not (
        isinstance(display_name, str) and display_name.strip() and _is_storable(display_name)
    ):
        raise errors.invalid_display_name(display_name)
    return SourceUpdate(
        display_name=display_name,
        paused_at=paused_at,
        destination_id=body.get("destination_id", UNSET),
        properties=tuple(properties),
    )


@dataclass(frozen=True, slots=True)
class SelectedStream:
    """A stream of which something is to be selected.

    Attributes:
        id: None where it is missing or no text.
        shown: the id as an error shows it. A missing one is `nil`, as the documented error has it.
        keys: of the metadata that is to be set.
    """

    id: str | None
    shown: str
    keys: tuple[str, ...]


def parse_selected_streams(raw: bytes) -> tuple[SelectedStream, ...]:
    """Parse the body of `PUT .../streams/metadata`.

    Raises:
        RequestRefusedError: a part is missing or of another type.
    """
    body = parse_object(raw)
    streams = None if body is None else body.get("streams")
    if not isinstance(streams, list):
        raise errors.invalid_streams_body()
    return tuple(_parse_selected_stream(stream) for stream in streams)


def _parse_selected_stream(stream: object) -> SelectedStream:
    metadata = stream.get("metadata") if isinstance(stream, dict) else None
    if not isinstance(stream, dict) or not isinstance(metadata, list):
        raise errors.invalid_streams_body()
    for part in metadata:
        if not (
            isinstance(part, dict)
            and isinstance(part.get("breadcrumb"), list)
            and isinstance(part.get("metadata"), dict)
        ):
            raise errors.invalid_streams_body()
    found = stream.get("tap_stream_id")
    return SelectedStream(
        found if isinstance(found, str) else None,
        "nil" if found is None else errors.show_value(found),
        tuple(key for part in metadata for key in part["metadata"]),
    )


def parse_object(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body; None for any other body, malformed or nested too deep."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # bytes that are not UTF-8 are a ValueError, too
        return None
    return value if isinstance(value, dict) else None


def _is_id_or_null(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_storable(display_name: str) -> bool:
    """Return whether every store can keep a name: a text of PostgreSQL has no character U+0000."""
    return len(display_name) <= DISPLAY_NAME_CHARACTERS_MAX and "\0" not in display_name
