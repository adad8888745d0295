"""Kinds of value a setting may have: how text becomes one, and how a wrong one is told."""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ValueKind(Protocol):
    """What values a setting takes."""

    @property
    def expected(self) -> str:
        """What a value is to be, as the end of a sentence: "a whole number from 1 to 64"."""

    def parse(self, text: str) -> object:
        """The value of a flag or a variable; ValueError when it is none."""

    def check(self, value: object) -> object:
        """The value of the file or of a caller, made exact; ValueError when it is none."""

    def show(self, value: object) -> str:
        """A wrong value, as it may be shown."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """A whole number or, with `whole` false, any finite one."""

    minimum: int
    maximum: int
    whole: bool = True
    unit: str = ""

    @property
    def expected(self) -> str:
        """For example "a whole number of seconds from 1 to 60"."""
        noun = "a whole number" if self.whole else "a number"
        of = f" of {self.unit}" if self.unit else ""
        return f"{noun}{of} from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> object:
        """Python's own notation, so `100_000` is a number."""
        return self.check(int(text) if self.whole else float(text))

    def check(self, value: object) -> object:
        """Refuses true and false, which Python counts among the integers."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(value)  # noqa: TRY004 - one error for all that is no value
        if self.whole and not isinstance(value, int):
            raise ValueError(value)
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            raise ValueError(value)
        return value if self.whole else float(value)

    def show(self, value: object) -> str:
        """The value itself."""
        return repr(value)


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """For example "text or json"."""
        return " or ".join([", ".join(self.words[:-1]), self.words[-1]])

    def parse(self, text: str) -> object:
        """Exactly one of the words."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Exactly one of the words."""
        if value not in self.words:
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """The value itself, with the nearest word."""
        return repr(value) + suggest_nearest(str(value), self.words, "")


@dataclass(frozen=True, slots=True)
class TextKind:
    """Text that is not blank and, with a `pattern`, is all of it."""

    expected: str
    hidden: bool = False
    pattern: str = ".*"

    def parse(self, text: str) -> object:
        """The text as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """The text as it is."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(value)
        if not re.fullmatch(self.pattern, value, re.DOTALL):
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """The value itself, unless it is a secret."""
        return "what is there (it is a secret and not shown)" if self.hidden else repr(value)


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A path of the file system."""

    expected: str = "the path of a folder, without ? and #"

    def parse(self, text: str) -> object:
        """`~` is the home folder."""
        return self.check(Path(text).expanduser() if text.strip() else text)

    def check(self, value: object) -> object:
        """The path made absolute, so that it names the same folder for every process.

        The folder's path becomes part of database URLs, where `?` and `#` end a path.
        """
        if isinstance(value, str) and value.strip():
            value = Path(value).expanduser()
        if not isinstance(value, Path) or set("?#\0") & set(str(value)):
            raise ValueError(value)
        return value.absolute()

    def show(self, value: object) -> str:
        """The path as it was given."""
        return repr(str(value))


@dataclass(frozen=True, slots=True)
class UrlKind:
    """A URL, perhaps with a password in it; of any scheme when `schemes` is empty."""

    expected: str
    schemes: tuple[str, ...] = ()

    def parse(self, text: str) -> object:
        """The URL as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Only that it begins as a URL does; what follows is for whoever opens it."""
        begin = re.match(r"([a-z][a-z0-9+.-]*)://.", value) if isinstance(value, str) else None
        if begin is None or (self.schemes and begin[1] not in self.schemes):
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """The URL without its password."""
        text = str(value)
        if "@" in text or "=" in text:
            return "what is there (it may hold a password and is not shown)"
        return repr(text)


def mask_password(url: str) -> str:
    """The URL with every password in it replaced by `***`; safe to log.

    Passwords may hold any character here, also those that should have been escaped: better to hide
    a little more than the password than a little less.
    """
    shown = re.sub(r"^([^:]*://[^:@/]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(
        r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", r"\1***", shown, flags=re.IGNORECASE
    )


def suggest_nearest(word: str, known: Iterable[str], otherwise: str = ".") -> str:
    """The end of a sentence: names the nearest known word where one is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else otherwise
