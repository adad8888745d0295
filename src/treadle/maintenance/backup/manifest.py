"""The manifest of a backup: what is in it, of which moment, and what is needed to restore it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import msgspec

from treadle.errors import OperatorError

MANIFEST_NAME: Final = "backup.json"
MANIFEST_FORM: Final = 1

STORE_NAME: Final = "store.sqlite"
LOG_NAME: Final = "log.sqlite"
KEY_NAME: Final = "secret.key"
SETTINGS_NAME: Final = "treadle.toml"
DESTINATIONS_FOLDER: Final = "destinations"

ALLOWED_NAMES: Final = frozenset({KEY_NAME, f"{KEY_NAME}.next", SETTINGS_NAME, "lost+found"})
"""What may be in a folder that a backup is restored into."""

DRAFT_SUFFIX: Final = ".restoring"
"""Of files that a restore has not finished; one that was cut short leaves them."""

LOCK_NAME: Final = "treadle.lock"


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file of a backup.

    Attributes:
        name: its path in the backup, with slashes.
        size: bytes.
        sha256: of its content, 64 hexadecimal digits.
        place: where it belongs: a path relative to the data folder, or an absolute one.
    """

    name: str
    size: int
    sha256: str
    place: str


@dataclass(frozen=True, slots=True)
class CopiedLog:
    """A further log of a backup, of an installation with several.

    Attributes:
        number: of the log.
        log_id: its name.
        form: the form that it is written in.
        end: the greatest position that was given until the moment of the backup.
    """

    number: int
    log_id: str
    form: int
    end: int


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup holds.

    Attributes:
        form: of this manifest.
        made_at: the moment that it is of, microseconds since 1970.
        treadle: the release that made it.
        data: the data folder that it is of, absolute.
        installation_id: of the store.
        store_revision: the schema revision of the store.
        key_check: the check value of the key that the secrets of the store are encrypted with.
        log_id: the name of the first log; None where there was none.
        log_form: the form of that log; None where there was none.
        log_end: the greatest position that was given in it until that moment.
        left_out: DuckDB files of destinations that were not copied.
        files: all files but the manifest.
        other_logs: all logs but the first.
    """

    form: int
    made_at: int
    treadle: str
    data: str
    installation_id: str
    store_revision: str
    key_check: str
    log_id: str | None
    log_form: int | None
    log_end: int
    left_out: tuple[str, ...]
    files: tuple[BackupFile, ...]
    other_logs: tuple[CopiedLog, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def has_key(self) -> bool:
        """Whether the secret key is in the backup."""
        return any(file.name == KEY_NAME for file in self.files)


def is_log_name(name: str) -> bool:
    """Return whether a file of a backup is a log: the first one, or one with a number."""
    stem, _, suffix = LOG_NAME.partition(".")
    rest = name.removeprefix(stem).removesuffix(f".{suffix}")
    return name == LOG_NAME or (
        name == f"{stem}{rest}.{suffix}" and rest.startswith("-") and rest[1:].isdecimal()
    )


def render_manifest(manifest: BackupManifest) -> str:
    """Return a manifest as JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"


def parse_manifest(text: bytes) -> BackupManifest:
    """Return a manifest from JSON.

    Raises:
        OperatorError: it is none, or was written by a newer treadle.
    """
    try:
        form = msgspec.json.decode(text, type=dict[str, object]).get("form")
        if isinstance(form, int) and form > MANIFEST_FORM:
            raise OperatorError(
                f"the backup was made by a newer treadle (its form is {form}, this one knows "
                f"{MANIFEST_FORM}): restore it with that version"
            )
        found = msgspec.json.decode(text, type=BackupManifest)
    except msgspec.MsgspecError as error:
        raise OperatorError(
            f"{MANIFEST_NAME} is not what `treadle backup` writes ({error}): take another backup"
        ) from error
    for file in found.files:
        name, place = PurePosixPath(file.name), PurePosixPath(file.place)
        if name.is_absolute() or ".." in name.parts or ".." in place.parts:
            raise OperatorError(
                f"{MANIFEST_NAME} names the file {file.name!r}, which is outside of the backup: "
                "take another backup"
            )
    return found


def find_obstacles(names: Iterable[str]) -> list[str]:
    """Return what keeps a folder from being restored into, in order.

    Args:
        names: of what lies directly in it.
    """
    return sorted(
        name
        for name in names
        if name not in ALLOWED_NAMES and DRAFT_SUFFIX not in name and name != LOCK_NAME
    )


def judge_manifest(
    manifest: BackupManifest,
    is_known_revision: Callable[[str], bool],
    sizes: Mapping[str, int],
) -> str | None:
    """Return why a backup cannot be restored here; None where nothing is in the way.

    Args:
        manifest: of the backup.
        is_known_revision: says whether this release knows a schema revision of the store.
        sizes: name -> bytes of the files that are there.
    """
    if not is_known_revision(manifest.store_revision):
        return (
            f"the backup was made by treadle {manifest.treadle}, whose store (revision "
            f"{manifest.store_revision}) this release does not know: restore it with that release "
            "or a newer one"
        )
    for file in manifest.files:
        found = sizes.get(file.name)
        if found is None:
            return f"the file {file.name} of the backup is missing: take another backup"
        if found != file.size:
            return (
                f"the file {file.name} of the backup has {found} bytes and had {file.size} when it "
                "was made: take another backup"
            )
    return None
