"""The life that tokens of all kinds have, as commands: list, expire, revoke, replace.

Each group of commands (`treadle account token`, `treadle token`, `treadle metrics token`) is about
the tokens of one owner.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_json, print_line, print_list, to_whole_second
from treadle.cli.time_argument import parse_duration, parse_expiry
from treadle.clock import read_clock
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.store.model import AccessToken
    from treadle.store.store import Store
    from treadle.store.tokens import TokenFilter

COLUMNS = (
    *("token_id", "kind", "last_four", "description", "state", "created_at", "created_by"),
    *("first_used_at", "last_used_at", "last_used_from", "uses", "expires_at", "tables"),
    *("refused", "verdict"),
)
OVERLAP_DEFAULT = "24h"


@dataclass(frozen=True, slots=True)
class OwnedTokens:
    """The tokens of one owner.

    Attributes:
        wanted: which tokens they are.
        owner: for sentences: "source orders".
        command: words that list them: "treadle token list orders".
    """

    store: "Store"
    wanted: "TokenFilter"
    owner: str
    command: str

    def list_tokens(self, *, ended: bool) -> "list[AccessToken]":
        """Return the tokens by id, disabled ones too, ended ones on request."""
        now = read_clock()
        found = self.store.tokens.find_tokens(self.wanted)
        return [token for token in found if ended or token.is_kept(now)]


TokenOpener = Callable[[Config, Arguments], AbstractContextManager[OwnedTokens]]
"""Opens the store, and finds the owner of the arguments."""


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """A group of commands.

    Attributes:
        words: before the last one: ("account", "token").
        noun: what it is about, for the help.
        add_owner: adds the arguments that name the owner.
        open_tokens: opens the store, and finds the owner of the arguments.
    """

    words: tuple[str, ...]
    noun: str
    add_owner: Callable[[argparse.ArgumentParser], None]
    open_tokens: TokenOpener


def make_life_commands(group: TokenGroup) -> tuple[CliCommand, ...]:
    """Return the commands that tokens of all kinds have."""

    def add_list(parser: argparse.ArgumentParser) -> None:
        group.add_owner(parser)
        parser.add_argument("--all", action="store_true", help="ended ones too")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def add_note(parser: argparse.ArgumentParser) -> None:
        add_one(parser)
        parser.add_argument("note", metavar="TEXT", help="whose the token is, or what it is for")

    def add_one(parser: argparse.ArgumentParser) -> None:
        group.add_owner(parser)
        _add_token_id(parser)

    def add_expire(parser: argparse.ArgumentParser) -> None:
        add_one(parser)
        parser.add_argument("when", metavar="WHEN", help="90d, 12h, a time in ISO 8601, or never")

    def add_replace(parser: argparse.ArgumentParser) -> None:
        add_one(parser)
        parser.add_argument(
            "--overlap",
            metavar="DURATION",
            default=OVERLAP_DEFAULT,
            help=f"how long both are valid; 0s ends the old one at once (default: "
            f"{OVERLAP_DEFAULT})",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    return (
        CliCommand(
            words=(*group.words, "list"),
            help=f"list {group.noun}, with their last use",
            run=partial(_list_tokens, group),
            arguments=add_list,
        ),
        CliCommand(
            words=(*group.words, "note"),
            help="change the note of a token",
            run=partial(_note_token, group),
            arguments=add_note,
        ),
        CliCommand(
            words=(*group.words, "expire"),
            help="set from when a token is refused",
            run=partial(_expire_token, group),
            arguments=add_expire,
        ),
        CliCommand(
            words=(*group.words, "replace"),
            help="make a token like another, which ends after an overlap",
            run=partial(_replace_token, group),
            arguments=add_replace,
        ),
        CliCommand(
            words=(*group.words, "revoke"),
            help="revoke a token at once",
            run=partial(_revoke_token, group),
            arguments=add_one,
        ),
    )


def _add_token_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token_id", metavar="TOKEN_ID", help="as the list shows it")


def _list_tokens(group: TokenGroup, config: Config, arguments: Arguments) -> int:
    """List tokens, without their secrets."""
    now = read_clock()
    with group.open_tokens(config, arguments) as owned:
        known = owned.store.tokens.find_tokens(owned.wanted)
        hours = owned.store.tokens.list_hourly_uses([token.id for token in known], now)
    rows = [
        _make_row(token, known, hours[token.id], now)
        for token in known
        if arguments.all or token.is_kept(now)
    ]
    print_list(COLUMNS, rows, as_json=arguments.json)
    return 0


def _make_row(
    token: "AccessToken", known: "Sequence[AccessToken]", hours: Sequence[int], now: int
) -> tuple[object, ...]:
    from treadle.tracking.token_verdict import judge_token

    same = [one for one in known if one.kind == token.kind]
    return (
        token.id,
        token.kind,
        token.last_four,
        token.description,
        describe_state(token, now),
        to_whole_second(token.created_at),
        token.created_by,
        to_whole_second(token.first_used_at),
        to_whole_second(token.last_used_at),
        token.last_used_from,
        token.uses,
        to_whole_second(token.expires_at),
        list(token.tables) if token.tables else None,
        token.refused,
        judge_token(token, same, hours, now).text,
    )


def describe_state(token: "AccessToken", now: int) -> str:
    """Return the state of a token in one word."""
    if token.revoked_at is not None:
        return "revoked"
    if token.disabled_at is not None and token.is_kept(now):
        return "disabled"
    return "active" if token.is_active(now) else "expired"


def _note_token(group: TokenGroup, config: Config, arguments: Arguments) -> int:
    with open_token(group.open_tokens, config, arguments) as (owned, token_id):
        owned.store.tokens.change_token(owned.wanted, token_id, description=arguments.note)
    print_line(f"Changed the note of token {token_id} of {_shorten(owned.owner)}.")
    return 0


def _expire_token(group: TokenGroup, config: Config, arguments: Arguments) -> int:
    at = parse_expiry("WHEN", arguments.when, read_clock())
    with open_token(group.open_tokens, config, arguments) as (owned, token_id):
        owned.store.tokens.expire_token(owned.wanted, token_id, at)
    until = "never expires" if at is None else f"is refused from {to_whole_second(at)} on"
    print_line(f"Token {token_id} of {_shorten(owned.owner)} {until}.")
    return 0


def _replace_token(group: TokenGroup, config: Config, arguments: Arguments) -> int:
    overlap = parse_duration("--overlap", arguments.overlap)
    with (
        open_token(group.open_tokens, config, arguments) as (owned, token_id),
        explain_token_limit(owned, more=" or take --overlap 0s"),
    ):
        token = owned.store.tokens.replace_token(owned.wanted, token_id, overlap)
    print_made_token(token, as_json=arguments.json)
    return 0


def _revoke_token(group: TokenGroup, config: Config, arguments: Arguments) -> int:
    with open_token(group.open_tokens, config, arguments) as (owned, token_id):
        owned.store.tokens.end_token(owned.wanted, token_id)
    print_line(f"Revoked token {token_id} of {_shorten(owned.owner)}.")
    return 0


@contextmanager
def open_token(
    open_tokens: TokenOpener, config: Config, arguments: Arguments
) -> Iterator[tuple[OwnedTokens, int]]:
    """Open the store, and find the active token of the argument TOKEN_ID.

    Raises:
        OperatorError: there is none.
    """
    from treadle.store.errors import NotFoundError

    with open_tokens(config, arguments) as owned:
        known = [t.id for t in owned.list_tokens(ended=False) if str(t.id) == arguments.token_id]
        missing = OperatorError(
            f"The {owned.owner} has no active token {arguments.token_id}; "
            f"`{owned.command}` shows what it has."
        )
        if not known:
            raise missing
        try:
            yield owned, known[0]
        except NotFoundError:  # it ended a moment ago
            raise missing from None


def print_made_token(token: "AccessToken", *, as_json: bool, more: str = "") -> None:
    """Print a token that was just made, with what its user needs to know.

    Args:
        token: with its secret.
        as_json: print one JSON object.
        more: text behind the token, for people.
    """
    from treadle.store.token_rules import WEBHOOK

    made: dict[str, object] = {}
    if token.account_id is not None:
        made["stitch_client_id"] = token.account_id
    if token.source_id is not None:
        made["source_id"] = token.source_id
    made |= {"token_id": token.id, "access_token": token.secret}
    if token.kind == WEBHOOK:
        made["path"] = f"/v1/clients/{token.account_id}/token/{token.secret}"
    if as_json:
        print_json(made)
        return
    for name, value in made.items():
        if name != "source_id":
            print_line(f"{name}: {value}{more if name == 'access_token' else ''}")


@contextmanager
def explain_token_limit(owned: OwnedTokens, more: str = "") -> Iterator[None]:
    """Say what to type if there are as many tokens as there may be (connect-api.md 2.6)."""
    from treadle.store.errors import TokenLimitError

    try:
        yield
    except TokenLimitError as error:
        active = " and ".join(str(token.id) for token in owned.list_tokens(ended=False))
        revoke = owned.command.replace(" list", " revoke", 1)
        raise OperatorError(
            f"The {owned.owner} has {error.limit} active tokens ({active}), the most it may "
            f"have; revoke one first: `{revoke} TOKEN_ID`{more}."
        ) from None


def _shorten(owner: str) -> str:
    """Return the name of a source, as earlier releases print it, or an owner as it is."""
    return owner.removeprefix("source ")
