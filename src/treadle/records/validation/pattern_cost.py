"""Computes the cost of a regular expression from its text: its size, and the way of matching.

The engine compiles an expression into states. Repetitions with a number make copies, also of what
already has copies, so a short text can stand for any number of states. An expression without
look-around and references is matched in one pass over a text, whose steps are bounded by states
times bytes. One with them is matched by trying, which has no such bound.
"""

import re
from typing import Final, NamedTuple

STATES_MAX: Final = 10**9
"""Counts of states stop at this number."""

_ANY_STATES: Final = 12
"""States of a class that holds most characters: a choice between their forms in UTF-8."""
_WORD_STATES: Final = 20
"""States of an escape such as `\\w` or `\\b`, and of a class inside of a class."""
_PROPERTY_STATES: Final = 800
"""States of a property of Unicode: the largest properties have some hundred ranges."""

_REPETITION = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_BRACED_ESCAPE = re.compile(r"[pPux]\{[^}]*\}")
_DIGITS_MAX: Final = 9
_PLAIN_GROUP = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)")
_GROUP_WORD = re.compile(r"\?(?:[=!>|]|<[=!]|[^:)]*[:)])")
_TRYING_ESCAPES: Final = frozenset("123456789kgGKZA")
"""Letters behind a backslash that may make the engine match by trying, such as references."""


class PatternCost(NamedTuple):
    """The cost of an expression, as far as its text shows it.

    Attributes:
        states: the most states that the engine makes of it, up to a small factor.
        one_pass: it is matched in one pass over the text. False also where that is not certain.
    """

    states: int
    one_pass: bool


class _OpenGroup:
    """A group whose end has not come: the states of its alternatives, and of the last item."""

    __slots__ = ("last", "states")

    def __init__(self) -> None:
        self.states = 1
        self.last = 0


def measure_pattern(text: str) -> PatternCost:
    """Measure an expression; one that the engine would refuse has any cost."""
    groups = [_OpenGroup()]
    one_pass = True
    at = 0
    while at < len(text):
        here = groups[-1]
        character = text[at]
        at += 1
        if character == "(":
            groups.append(_OpenGroup())
            if text.startswith("?", at):
                plain = _PLAIN_GROUP.match(text, at)
                one_pass = one_pass and plain is not None
                found = plain or _GROUP_WORD.match(text, at)
                at = found.end() if found else at + 1
                if found and found[0].endswith(")"):  # flags, such as (?i)
                    groups.pop()
            continue
        if character == ")":
            if len(groups) > 1:
                inner = groups.pop()
                here = groups[-1]
                _add_item(here, inner.states)
            continue
        if character in "*+?":
            # Behind another quantifier, a plus makes it possessive: it gives nothing back.
            if character == "+" and at > 1 and text[at - 2] in "*+?}" and not _is_escaped(text, at):
                one_pass = False
            here.states = min(here.states + 1, STATES_MAX)
            continue
        if character == "{" and (counted := _REPETITION.match(text, at - 1)):
            at = counted.end()
            _repeat_item(here, counted)
            continue
        if character == "[":
            at, states = _measure_class(text, at)
            _add_item(here, states)
            continue
        if character == "\\" and at < len(text):
            one_pass = one_pass and text[at] not in _TRYING_ESCAPES
            at, states = _measure_escape(text, at)
            _add_item(here, states)
            continue
        _add_item(here, _ANY_STATES if character == "." else len(character.encode()))
    while len(groups) > 1:
        inner = groups.pop()
        _add_item(groups[-1], inner.states)
    return PatternCost(groups[0].states, one_pass)


def _add_item(group: _OpenGroup, states: int) -> None:
    group.last = states
    group.states = min(group.states + states, STATES_MAX)


def _repeat_item(group: _OpenGroup, counted: re.Match[str]) -> None:
    low, comma, high = counted.groups()
    copies = 0
    for digits in (low, high or "0"):
        copies = max(copies, int(digits) if len(digits) <= _DIGITS_MAX else STATES_MAX)
    if comma and not high:
        copies += 1
    item = group.last
    grown = min(item * max(copies, 1), STATES_MAX)
    group.states = min(group.states - item + grown, STATES_MAX) if item else group.states
    group.last = grown


def _measure_escape(text: str, at: int) -> tuple[int, int]:
    """Return the place behind an escape whose letter is at `at`, and its states."""
    found = _BRACED_ESCAPE.match(text, at)
    end = at + 1 if found is None else found.end()
    if text[at] in "pP":
        return end, _PROPERTY_STATES
    return end, _WORD_STATES if text[at] in "wWsSDbB" else 4


def _measure_class(text: str, at: int) -> tuple[int, int]:
    """Return the place behind a class that begins before `at`, and its states."""
    states = 1
    if text.startswith("^", at):
        states = _ANY_STATES
        at += 1
    first = at
    depth = 1  # the engine knows classes inside classes
    while at < len(text) and depth:
        character = text[at]
        at += 1
        if character == "\\" and at < len(text):
            at, further = _measure_escape(text, at)
            states += further
        elif character == "[":
            depth += 1
            states += _WORD_STATES
        elif character == "]" and at - 1 > first:
            depth -= 1
        elif not character.isascii():
            states += 4
        else:
            states += character not in "-&^:"
    return at, min(states, STATES_MAX)


def _is_escaped(text: str, at: int) -> bool:
    """Return whether the character two places before `at` is an escaped one."""
    slashes = 0
    place = at - 3
    while place >= 0 and text[place] == "\\":
        slashes += 1
        place -= 1
    return slashes % 2 == 1
