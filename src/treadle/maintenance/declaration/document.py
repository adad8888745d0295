"""Reads a declaration from TOML, and writes one."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from treadle.errors import OperatorError
from treadle.maintenance.declaration.model import (
    Declaration,
    DeclaredAccount,
    DeclaredDestination,
    DeclaredHook,
    DeclaredSource,
    DeclaredValue,
    SecretText,
)
from treadle.maintenance.declaration.plan import SECRET_NAMES

ENVIRONMENT: Final = "env:"
"""How a value begins that is in an environment variable, whose name follows."""

_ACCOUNT: Final = ("name", "id", "quotas", "destination", "source", "hook")
_SOURCE: Final = (
    *("name", "display_name", "paused", "destination"),
    *("options", "tables", "webhook", "quotas"),
)
_HOOK: Final = ("id", "url", "destination", "paused", "enabled", "secret")

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def parse_declaration(text: str, environ: Mapping[str, str]) -> Declaration:
    """Return what a file declares.

    Args:
        text: TOML.
        environ: the environment variables, in which secrets are.

    Raises:
        OperatorError: it is no TOML or no declaration, or a variable is not set. The text says
            where, and quotes no value.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Not the parser's exception: it may quote a line with a secret.
        raise OperatorError(f"the declaration is no TOML: {error}") from None
    _check_names(document, ("account",), "the declaration")
    accounts = [
        _read_account(one, environ) for one in _get_list(document, "account", "the declaration")
    ]
    names = [(one.name, one.id) for one in accounts]
    for name in names:
        if names.count(name) > 1:
            raise OperatorError(f"the account {name[0]!r} is declared twice: keep one of them")
    return tuple(accounts)


def _read_account(said: Mapping[str, Any], environ: Mapping[str, str]) -> DeclaredAccount:
    where = f"the account {said.get('name', said.get('id', '?'))!r}"
    _check_names(said, _ACCOUNT, where)
    account = DeclaredAccount(
        name=_require_text(said, "name", where),
        id=_get(said, "id", int, where),
        quotas=_get_section(said, "quotas", where),
        destinations=tuple(
            _read_destination(one, where, environ) for one in _get_list(said, "destination", where)
        ),
        sources=tuple(_read_source(one, where) for one in _get_list(said, "source", where)),
        hooks=tuple(_read_hook(one, where, environ) for one in _get_list(said, "hook", where)),
    )
    for kind, names in (
        ("source", [one.name for one in account.sources]),
        ("destination", [(one.name, one.id) for one in account.destinations]),
    ):
        for name in names:
            if names.count(name) > 1:  # type: ignore[arg-type]  # of one of the two lists
                raise OperatorError(f"{where} declares a {kind} twice ({name}): keep one of them")
    return account


def _read_destination(
    said: Mapping[str, Any], owner: str, environ: Mapping[str, str]
) -> DeclaredDestination:
    where = f"the destination {said.get('name', '?')!r} of {owner}"
    rest = {name: value for name, value in said.items() if name not in ("name", "id", "type")}
    for name, value in rest.items():
        if not isinstance(value, str | int | bool):
            raise OperatorError(f"{name} of {where} is to be a text, a number or true or false")
    return DeclaredDestination(
        name=_require_text(said, "name", where),
        id=_get(said, "id", int, where),
        type=_get(said, "type", str, where),
        properties={
            name: _resolve_text(name, value, where, environ)
            if isinstance(value, str)
            else _to_text(value)
            for name, value in rest.items()
        },
    )


def _read_source(said: Mapping[str, Any], owner: str) -> DeclaredSource:
    where = f"the source {said.get('name', '?')!r} of {owner}"
    _check_names(said, _SOURCE, where)
    tables = _get_section(said, "tables", where) or {}
    return DeclaredSource(
        name=_require_text(said, "name", where),
        display_name=_get(said, "display_name", str, where),
        paused=_get(said, "paused", bool, where),
        destination=_get(said, "destination", str, where),
        options=_flatten_options(_get_section(said, "options", where)),
        tables={
            table: _flatten_options(_get_section(tables, table, where)) or {} for table in tables
        },
        webhook=_get_section(said, "webhook", where),
        quotas=_get_section(said, "quotas", where),
    )


def _read_hook(said: Mapping[str, Any], owner: str, environ: Mapping[str, str]) -> DeclaredHook:
    where = f"a hook of {owner}"
    _check_names(said, _HOOK, where)
    secrets: dict[str, SecretText | None] = {}
    for name in ("url", "secret"):
        value = _get(said, name, str, where)
        found = None if value is None else _resolve_text(name, value, where, environ)
        secrets[name] = None if found is None else SecretText(found)
    return DeclaredHook(
        id=_get(said, "id", int, where),
        destination=_get(said, "destination", str, where),
        paused=_get(said, "paused", bool, where),
        enabled=_get(said, "enabled", bool, where),
        **secrets,
    )


def _flatten_options(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return options by their names; a contract may be written as a table of its own."""
    if values is None:
        return None
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{part}": inner for part, inner in value.items()}
        else:
            found[name] = value
    return found


def _resolve_text(name: str, text: str, where: str, environ: Mapping[str, str]) -> str:
    """Return a text, from the environment where it says so."""
    if not text.startswith(ENVIRONMENT):
        return SecretText(text) if name in SECRET_NAMES else text
    variable = text.removeprefix(ENVIRONMENT)
    value = environ.get(variable)
    if not value:
        raise OperatorError(
            f"{name} of {where} is in the environment variable {variable}, which is not set: set it"
        )
    return SecretText(value)


def _to_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_names(said: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in said:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise OperatorError(f"{where} has no {name!r}; {meant}")


def _get(said: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = said.get(name)
    if value is None or type(value) is kind:
        return value
    words = {str: "a text", int: "a whole number", bool: "true or false"}
    raise OperatorError(f"{name} of {where} is to be {words[kind]}")


def _require_text(said: Mapping[str, Any], name: str, where: str) -> str:
    value = _get(said, name, str, where)
    if not value:
        raise OperatorError(f"{where} has no {name}: give it one")
    return str(value)


def _get_section(said: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any] | None:
    value = said.get(name)
    if value is None or isinstance(value, Mapping):
        return value
    raise OperatorError(f"{name} of {where} is to be a table of names and values")


def _get_list(said: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = said.get(name, [])
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return value
    raise OperatorError(f"{name} of {where} is to be written as [[...{name}]]")


def render_declaration(declaration: Declaration) -> str:
    """Write a declaration as TOML, without secrets: a comment says where one is missing."""
    lines: list[str] = []
    for account in declaration:
        lines += ["[[account]]", *_render_values({"name": account.name, "id": account.id})]
        lines += _render_section("account.quotas", account.quotas)
        for row in account.destinations:
            lines += ["", "[[account.destination]]"]
            lines += _render_values({"name": row.name, "id": row.id, "type": row.type})
            lines += _render_values(row.properties)
        for source in account.sources:
            lines += ["", "[[account.source]]"]
            lines += _render_values(
                {
                    "name": source.name,
                    "display_name": source.display_name,
                    "paused": source.paused,
                    "destination": source.destination,
                }
            )
            lines += _render_section("account.source.options", source.options)
            for table, options in source.tables.items():
                lines += _render_section(f"account.source.tables.{_render_key(table)}", options)
            lines += _render_section("account.source.webhook", source.webhook)
            lines += _render_section("account.source.quotas", source.quotas)
        for hook in account.hooks:
            lines += ["", "[[account.hook]]"]
            lines += _render_values(
                {
                    "id": hook.id,
                    "url": hook.url,
                    "destination": hook.destination,
                    "paused": hook.paused,
                    "enabled": hook.enabled,
                    "secret": hook.secret,
                }
            )
        lines.append("")
    return "\n".join(lines)


def _render_section(name: str, values: Mapping[str, DeclaredValue] | None) -> list[str]:
    if not values:
        return []
    return ["", f"[{name}]", *_render_values(values)]


def _render_values(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, SecretText):
            yield f'# {_render_key(name)} = "{ENVIRONMENT}..."  # it is there, and not shown'
        elif value is not None:
            yield f"{_render_key(name)} = {_render_value(value)}"


def _render_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _render_text(name)


def _render_value(value: DeclaredValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_render_text, value))}]"
    return _render_text(str(value))


def _render_text(text: str) -> str:
    """Return a text as TOML has it: as JSON does, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
