"""The kinds of value that a setting may have.

A kind turns text into a value, checks a value, and describes both in error texts.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from treadle.errors import OperatorError
from treadle.smtp_url import parse_smtp_url

SHOWN_BITS_MAX: Final = 1_024
"""Bits of the longest number that is shown."""


class ValueKind(Protocol):
    """The values that a setting takes."""

    @property
    def expected(self) -> str:
        """The end of a sentence that says what is valid: "a whole number from 1 to 64"."""

    def parse(self, text: str) -> object:
        """Return the value of a flag or a variable. ValueError if the text is not valid."""

    def check(self, value: object) -> object:
        """Return a value of the file or of a caller in its exact type. ValueError if not valid."""

    def show(self, value: object) -> str:
        """Return a wrong value as an error text may show it."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """A whole number within bounds or, with `whole` false, any finite number."""

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
        """Read a number in Python's notation, so that `100_000` is one."""
        return self.check(int(text) if self.whole else float(text))

    def check(self, value: object) -> object:
        """Check the bounds. Refuse true and false, which Python counts among the integers."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(value)  # noqa: TRY004 - one error for all that is no value
        if self.whole and not isinstance(value, int):
            raise ValueError(value)
        # Not so either of infinity and NaN. An integer may be too large to be a float.
        if not self.minimum <= value <= self.maximum:
            raise ValueError(value)
        return value if self.whole else float(value)

    def show(self, value: object) -> str:
        """Return the value itself, unless it is longer than Python writes."""
        is_long = isinstance(value, int) and value.bit_length() > SHOWN_BITS_MAX
        return "one of hundreds of digits" if is_long else repr(value)


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """For example "text or json"."""
        return " or ".join([", ".join(self.words[:-1]), self.words[-1]])

    def parse(self, text: str) -> object:
        """Accept exactly one of the words."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Accept exactly one of the words."""
        if value not in self.words:
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """Return the value itself and the nearest of the words."""
        return repr(value) + suggest_nearest(str(value), self.words, "")


@dataclass(frozen=True, slots=True)
class WordsKind:
    """One or several of a few words, separated by commas.

    Attributes:
        words: that may be named.
        lone: the one of them that is named without others.
    """

    words: tuple[str, ...]
    lone: str

    @property
    def expected(self) -> str:
        """For example "all, or several of ingest and loader, separated by commas"."""
        others = [word for word in self.words if word != self.lone]
        named = " and ".join([", ".join(others[:-1]), others[-1]])
        return f"{self.lone}, or one or several of {named}, separated by commas"

    def parse(self, text: str) -> object:
        """Read them from one text."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return a tuple of them in the order of `words`, each once."""
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(value)
        found = {one.strip() if isinstance(one, str) else "" for one in value}
        if found - set(self.words) or (self.lone in found and len(found) > 1):
            raise ValueError(value)
        return tuple(word for word in self.words if word in found)

    def show(self, value: object) -> str:
        """Return the value itself and, of one word, the nearest of the words."""
        return repr(value) + suggest_nearest(str(value), self.words, "")


@dataclass(frozen=True, slots=True)
class TextKind:
    """A text that is not blank and matches a pattern as a whole."""

    expected: str
    hidden: bool = False
    pattern: str = ".*"

    def parse(self, text: str) -> object:
        """Return the text as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return the text as it is."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(value)
        if not re.fullmatch(self.pattern, value, re.DOTALL):
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """Return the value itself, unless it is a secret."""
        return "what is there (it is a secret and not shown)" if self.hidden else repr(value)


@dataclass(frozen=True, slots=True)
class PublicUrlKind(TextKind):
    """The URL of a server, without a user, parameters and fragment."""

    expected: str = "a URL such as https://data.example.com or https://example.com/treadle"
    pattern: str = (
        r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?(/[A-Za-z0-9._~-]+){0,5}/?"
    )

    def check(self, value: object) -> object:
        """Return the URL as it is."""
        text = str(TextKind.check(self, value))
        parts = urlsplit(text)
        _ = parts.port  # ValueError for one beyond 65535
        host = parts.hostname or ""
        if "[" in parts.netloc:
            ipaddress.IPv6Address(host)
        elif not host.strip(".-"):
            raise ValueError(value)
        return text


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A path of the file system."""

    expected: str = "the path of a folder, without ? and #"

    def parse(self, text: str) -> object:
        """Read a path; `~` is the home folder."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return an absolute path, which names the same folder for every process.

        The folder's path becomes part of database URLs, where `?` and `#` end a path.
        """
        if isinstance(value, str) and value.strip():
            value = expand_home(value)
        if not isinstance(value, Path) or set("?#\0") & set(str(value)):
            raise ValueError(value)
        return _make_absolute(value)

    def show(self, value: object) -> str:
        """Return the path as it was given."""
        return repr(str(value))


@dataclass(frozen=True, slots=True)
class FileKind:
    """A path of a file."""

    expected: str = "the path of a file"

    def parse(self, text: str) -> object:
        """Read a path; `~` is the home folder."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return an absolute path, which names the same file for every process."""
        if isinstance(value, str) and value.strip():
            value = Path(value)
        if not isinstance(value, Path) or "\0" in str(value):
            raise ValueError(value)
        return _make_absolute(expand_home(value))

    def show(self, value: object) -> str:
        """Return the path as it was given."""
        return repr(str(value))


def expand_home(path: str | Path) -> Path:
    """Return a path with the folder that `~` or `~user` means. ValueError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or one without a home folder
        raise ValueError(path) from None


def _make_absolute(path: Path) -> Path:
    try:
        return path.absolute()
    except OSError as error:
        raise OperatorError(
            f"The folder that this command was started in cannot be used: {error.strerror}; change "
            "to another one."
        ) from None


@dataclass(frozen=True, slots=True)
class SwitchKind:
    """True or false."""

    expected: str = "true or false"

    def parse(self, text: str) -> object:
        """Accept exactly `true` and `false`, as TOML does."""
        return self.check({"true": True, "false": False}.get(text, text))

    def check(self, value: object) -> object:
        """Return the value as it is."""
        if not isinstance(value, bool):
            raise ValueError(value)  # noqa: TRY004 - one error for all that is no value
        return value

    def show(self, value: object) -> str:
        """Return the value itself."""
        return repr(value)


SOCKET_PREFIX: Final = "unix:"
SOCKET_PATH_BYTES_MAX: Final = 107
"""Longest path of a UNIX socket in bytes (unix(7))."""


@dataclass(frozen=True, slots=True)
class ListenKind:
    """A host name, an address, or `unix:` and the absolute path of a socket."""

    expected: str = "a host name, an address, or unix: and the absolute path of a socket"

    def parse(self, text: str) -> object:
        """Return the text as it is."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return the text as it is. An address in brackets belongs into a URL."""
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(value)
        path = find_socket_path(value)
        if path is None:
            if not re.fullmatch(r"[^\s/\[\]@?#]+", value):
                raise ValueError(value)
        elif not path.is_absolute() or len(bytes(path)) > SOCKET_PATH_BYTES_MAX or not path.name:
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """Return the value itself."""
        return repr(value)


def find_socket_path(host: str) -> Path | None:
    """Return the path of the UNIX socket that `host` names; None where it names an address."""
    if not host.startswith(SOCKET_PREFIX):
        return None
    return Path(host.removeprefix(SOCKET_PREFIX))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address. A name is not looked up.

    Args:
        host: an address, `localhost` or another name.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


SOCKET_PEER: Final = "unix"
"""In `trusted_proxies`: whoever connects to the UNIX socket, which has no address."""


@dataclass(frozen=True, slots=True)
class NetworksKind:
    """Addresses and networks, separated by commas; `unix` for the other end of a UNIX socket."""

    expected: str = "addresses or networks such as 10.0.0.0/8, or unix, separated by commas"

    def parse(self, text: str) -> object:
        """Read them from one text."""
        return self.check(text)

    def check(self, value: object) -> object:
        """Return a tuple of their texts, each a network in its usual form or `unix`.

        A network with bits beyond its mask is refused: it names one machine or many, and which of
        the two was meant cannot be known.
        """
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | tuple):
            raise ValueError(value)  # noqa: TRY004 - one error for all that is no value
        found = []
        for one in value:
            text = one.strip() if isinstance(one, str) else ""
            found.append(text if text == SOCKET_PEER else str(ipaddress.ip_network(text)))
        return tuple(found)

    def show(self, value: object) -> str:
        """Return the value itself."""
        return repr(value)


@dataclass(frozen=True, slots=True)
class UrlKind:
    """A URL, of any scheme when `schemes` is empty. It may contain a password."""

    expected: str
    schemes: tuple[str, ...] = ()

    def parse(self, text: str) -> object:
        """Return the URL without the line break at its end that a secret made of a file has."""
        return self.check(text.strip())

    def check(self, value: object) -> object:
        """Check the beginning of the URL only; the rest is checked by whoever opens it."""
        begin = re.match(r"([a-z][a-z0-9+.-]*)://.", value) if isinstance(value, str) else None
        if begin is None or (self.schemes and begin[1] not in self.schemes):
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        """Return the URL, unless it may contain a password."""
        text = str(value)
        if "@" in text or "=" in text:
            return "what is there (it may hold a password and is not shown)"
        return repr(text)


@dataclass(frozen=True, slots=True)
class MailServerKind(UrlKind):
    """The URL of a mail server, which is checked as a whole."""

    expected: str = (
        "a URL such as smtp://user:password@mail.example.com:587?starttls=1 or "
        "smtps://user:password@mail.example.com, encrypted where it has a password"
    )
    schemes: tuple[str, ...] = ("smtp", "smtps")

    def check(self, value: object) -> object:
        """Return the URL as it is."""
        if not isinstance(value, str):
            raise ValueError(type(value))  # noqa: TRY004 - one error for all that is no value
        parse_smtp_url(value)
        return value


def mask_password(url: str) -> str:
    """Return a URL with `***` in place of every password, safe to log.

    A password may contain any character, also one that should have been escaped, and so may a user:
    `me@example.com` is one. So a little more than the password may be hidden, but never a little
    less.
    """
    shown = re.sub(r"^([^:]*://[^:/]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(
        r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", r"\1***", shown, flags=re.IGNORECASE
    )


def suggest_nearest(word: str, known: Iterable[str], otherwise: str = ".") -> str:
    """Return the end of a sentence that names the nearest known word, if one is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else otherwise
