"""Judges the permission bits of a file or folder of treadle: what may other users do with it?"""

import enum


class FileContent(enum.Enum):
    """Kinds of content of a file or folder. Each kind has its own rule of who may read it."""

    DATA = "data"
    """Records, settings, passwords in a file of the operator's. A container's secrets are mounted
    readable for all its users, so reading is no reason to refuse one."""
    KEY = "key"
    """The key that treadle made for itself: nobody else has a use for it."""
    TLS_KEY = "TLS key"
    """The key of a certificate. Its group may read it, as Debian's group `ssl-cert` does."""


class Exposure(enum.Enum):
    """Rights that the other users of a machine have to a file or folder of treadle."""

    PRIVATE = "private"
    READABLE = "readable"
    """Others can read it: worth a warning."""
    REFUSED = "refused"
    """Others can write it, or read a key: treadle does not work with it."""


def judge_rights(mode: int, content: FileContent = FileContent.DATA) -> Exposure:
    """Judge what other users may do with a file or folder: the one rule for all of them.

    Whoever can write to the data folder or to the settings can have treadle load into another
    database, or run with another key. So that is refused, whatever the file holds.

    Args:
        mode: the permission bits. To search a folder counts as reading it.
        content: what it holds.
    """
    if mode & 0o022:
        return Exposure.REFUSED
    if not mode & (0o005 if content is FileContent.TLS_KEY else 0o055):
        return Exposure.PRIVATE
    return Exposure.READABLE if content is FileContent.DATA else Exposure.REFUSED


def describe_exposure(mode: int) -> str:
    """Return what other users can do, as the end of a sentence: "can be read by ... (mode 0644)".

    Args:
        mode: the permission bits.
    """
    verb, others = ("changed", 0o002) if mode & 0o022 else ("read", 0o005)
    who = "other users" if mode & others else "users of its group"
    return f"can be {verb} by {who} (mode {mode & 0o7777:04o})"
