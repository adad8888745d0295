"""The values of a declaration: what is wanted, and in the same form what is there.

None, and a name that is not in a mapping, stand for "not said": what is there stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DeclaredValue = str | int | bool | list[str] | None


class SecretText(str):
    """A text that is never shown: a password, or a URL that may hold one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretText(...)"


@dataclass(frozen=True, slots=True)
class DeclaredDestination:
    """A destination.

    Attributes:
        id: where several of the account have one name; None to go by the name.
        type: such as postgres; None where the URL says it.
        properties: as its form names them, or `url`.
    """

    name: str
    id: int | None = None
    type: str | None = None
    properties: Mapping[str, DeclaredValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """A source.

    Attributes:
        name: of the source and its schema; it stays.
        destination: name or id of its destination; None for the default of the account.
        options, webhook, quotas: all that are set for it; None where nothing is said of them.
        tables: name of a table -> all options that are set for it.
    """

    name: str
    display_name: str | None = None
    paused: bool | None = None
    destination: str | None = None
    options: Mapping[str, DeclaredValue] | None = None
    tables: Mapping[str, Mapping[str, DeclaredValue]] = field(default_factory=dict)
    webhook: Mapping[str, DeclaredValue] | None = None
    quotas: Mapping[str, DeclaredValue] | None = None


@dataclass(frozen=True, slots=True)
class DeclaredHook:
    """A post-load hook.

    Attributes:
        id: None to go by the URL.
        url: that is called; a hook that is there keeps its own where none is said.
        destination: name or id of the destination; it stays.
        secret: the key of the signature.
    """

    id: int | None = None
    url: SecretText | None = None
    destination: str | None = None
    paused: bool | None = None
    enabled: bool | None = None
    secret: SecretText | None = None


@dataclass(frozen=True, slots=True)
class DeclaredAccount:
    """An account.

    Attributes:
        id: `stitch_client_id`; None to go by the name.
        quotas: all that are set for it; None where nothing is said of them.
    """

    name: str
    id: int | None = None
    quotas: Mapping[str, DeclaredValue] | None = None
    destinations: tuple[DeclaredDestination, ...] = ()
    sources: tuple[DeclaredSource, ...] = ()
    hooks: tuple[DeclaredHook, ...] = ()


Declaration = tuple[DeclaredAccount, ...]
DeclaredItem = DeclaredAccount | DeclaredDestination | DeclaredSource | DeclaredHook


def list_values(item: DeclaredItem) -> dict[str, Any]:
    """Return the values that are said of an item itself, without those of its sections."""
    match item:
        case DeclaredAccount():
            said: dict[str, Any] = {"name": item.name, "id": item.id}
        case DeclaredDestination():
            said = {"type": item.type, **item.properties}
        case DeclaredSource():
            said = {
                "display_name": item.display_name,
                "paused": item.paused,
                "destination": item.destination,
            }
        case DeclaredHook():
            said = {
                "url": item.url,
                "destination": item.destination,
                "paused": item.paused,
                "enabled": item.enabled,
                "secret": item.secret,
            }
    return {name: value for name, value in said.items() if value is not None}


def list_sections(item: DeclaredItem) -> dict[tuple[str, ...], Mapping[str, DeclaredValue]]:
    """Return the sections of an item that are said, each of which is whole."""
    said: dict[tuple[str, ...], Mapping[str, DeclaredValue] | None]
    match item:
        case DeclaredAccount():
            said = {("quotas",): item.quotas}
        case DeclaredSource():
            said = {
                ("options",): item.options,
                ("webhook",): item.webhook,
                ("quotas",): item.quotas,
            }
            said |= {("tables", table): values for table, values in item.tables.items()}
        case _:
            said = {}
    return {name: values for name, values in said.items() if values is not None}
