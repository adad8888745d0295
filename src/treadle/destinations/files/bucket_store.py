"""A bucket of an object store that speaks S3 as a place for objects, by obstore."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import obstore
import pyarrow as pa
from obstore import exceptions
from obstore.store import S3Store

from treadle.destinations.files.object_store import ObjectExistsError
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError
from treadle.errors import OperatorError, TreadleError

if TYPE_CHECKING:
    from obstore.store import S3Credential

PART_BYTES: Final = 16 * 1024 * 1024
"""Larger objects are sent in parts."""

RETRIES_MAX: Final = 3

_DENIED: Final = ("403 Forbidden", "401 Unauthorized")


@dataclass(frozen=True)
class StoreLogin:
    """A key with its secret, and the token of temporary credentials."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def get_credential(self) -> "S3Credential":
        """Return it as obstore has it."""
        return {
            "access_key_id": self.key,
            "secret_access_key": self.secret,
            "token": self.token,
            "expires_at": None,
        }


class BucketStore:
    """A bucket, or what is below a prefix in it; see `ObjectStore`.

    Args:
        bucket: its name.
        prefix: that keys are below; may be empty.
        config: of obstore: endpoint, region and the like.
        login: None for the credentials of the environment or the machine. Where it is given, none
            of those is sent.
        seconds: for a connection, and for a request.
        is_encrypted: the store is spoken to by HTTPS.

    Attributes:
        place: bucket and prefix.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        config: Mapping[str, str],
        *,
        login: StoreLogin | None,
        seconds: tuple[float, float],
        is_encrypted: bool,
    ) -> None:
        connecting, request = seconds
        settings: Any = dict(config)
        self.place = f"{bucket}/{prefix}".rstrip("/")
        self._name = f"the bucket {bucket!r}"
        self._secrets = [] if login is None else list(filter(None, (login.secret, login.token)))
        with self._translated():
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=settings,
                credential_provider=None if login is None else login.get_credential,
                client_options={
                    "allow_http": not is_encrypted,
                    "connect_timeout": timedelta(seconds=connecting),
                    "timeout": timedelta(seconds=request),
                },
                retry_config={
                    "max_retries": RETRIES_MAX,
                    "retry_timeout": timedelta(seconds=request),
                },
            )

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object that nobody else writes."""
        with self._translated():
            obstore.put(self._store, key, data, use_multipart=len(data) > PART_BYTES)

    def put_new(self, key: str, data: bytes) -> None:
        """Write an object if none has its name."""
        with self._translated():
            try:
                obstore.put(self._store, key, data, mode="create")
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
                raise ObjectExistsError(f"{key} is there already") from error

    def get(self, key: str) -> bytes | None:
        """Return what is in an object; None where it is missing."""
        with self._translated():
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def open(self, key: str) -> Any:
        """Return an object for readers of Parquet files; None where it is missing."""
        with self._translated():
            try:
                return pa.BufferReader(pa.py_buffer(obstore.get(self._store, key).bytes()))
            except FileNotFoundError:
                return None

    def list_keys(self, folder: str) -> list[str]:
        """Return the keys of the objects in a folder and below, in order."""
        with self._translated():
            chunks = obstore.list(self._store, prefix=folder)
            return sorted(each["path"] for chunk in chunks for each in chunk)

    def list_folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder, in order."""
        with self._translated():
            found = obstore.list_with_delimiter(self._store, prefix=folder or None)
            return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    def holds_any(self, folder: str) -> bool:
        """Return whether an object is in a folder or below."""
        with self._translated():
            return any(len(chunk) for chunk in obstore.list(self._store, prefix=folder))

    def show(self, pending: str, shown: str) -> None:
        """Give an object another name, unless one has that name, or somebody was faster."""
        with self._translated():
            try:
                obstore.head(self._store, shown)
            except FileNotFoundError:
                try:
                    size = obstore.head(self._store, pending)["size"]
                    obstore.copy(self._store, pending, shown)
                except FileNotFoundError:  # somebody was faster
                    return
                # An answer of 200 may hold an error, so the copy is looked at.
                if obstore.head(self._store, shown)["size"] != size:
                    raise DestinationUnavailableError(
                        f"{self._name} did not copy {pending} to {shown} as a whole"
                    ) from None
        self.remove([pending])

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; what is not there is passed over."""
        if not keys:
            return
        with self._translated():
            try:
                obstore.delete(self._store, list(keys))
            except FileNotFoundError:
                return

    def close(self) -> None:
        """Connections end by themselves."""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say what errors of the library mean."""
        try:
            yield
        except (exceptions.BaseError, OSError, OverflowError, ValueError) as error:
            raise translate(error, self._name, self._secrets) from None


def translate(error: Exception, place: str, secrets: Sequence[str] = ()) -> TreadleError:
    """Return the meaning of an error of obstore.

    Args:
        error: of the library.
        place: the bucket, for people.
        secrets: that must not be told: what a store refuses, it may repeat.
    """
    text = " ".join(str(error).split("\n\n")[0].split())
    for secret in secrets:
        text = text.replace(secret, "***")
    denied = exceptions.PermissionDeniedError, exceptions.UnauthenticatedError
    if isinstance(error, denied) or any(mark in text for mark in _DENIED):
        return AccessDeniedError(f"{place} refuses access: {text}")
    if isinstance(error, FileNotFoundError):
        return OperatorError(f"{place} is not there, or not in this region: {text}")
    if isinstance(
        error, exceptions.InvalidPathError | exceptions.UnknownConfigurationKeyError | ValueError
    ):
        return OperatorError(f"{place} cannot be used: {text}")
    return DestinationUnavailableError(f"{place} cannot be reached now: {text}")
