"""A folder of this machine, or a bucket, as a destination: Parquet files that are only added."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.duckdb_form import FOLDER_END
from treadle.destinations.files.asking import FilesAsking
from treadle.destinations.files.folder_store import FolderStore
from treadle.destinations.files.object_names import PREFIX_BYTES_MAX
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.session import FilesSession
from treadle.destinations.files.store_probe import StoreProbe
from treadle.destinations.files_form import BUCKET_SCHEME, FOLDER_SCHEME, FilesUrl
from treadle.destinations.host_addresses import check_addresses
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    Session,
)
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk, is_local_host
from treadle.errors import OperatorError
from treadle.tables.profiles import FILES

PARAMETERS: Final = frozenset(
    {"region", "tls", "session-token", "virtual-hosts", "connect-timeout", "request-timeout"}
)

EXAMPLES: Final = (
    "files:///var/lib/treadle/files or "
    "files+s3://KEY:SECRET@s3.eu-central-1.amazonaws.com/bucket/folder?region=eu-central-1"
)

DEFAULT_REGION: Final = "us-east-1"

SECONDS_MAX: Final = 86_400
"""Longest time for a connection or a request."""

REMEDY: Final = "Take tls=false out of its URL."


class FilesDestination:
    """One folder, or what is below a prefix of one bucket.

    Args:
        url: `files:///absolute/folder`, or `files+s3://key:secret@host:port/bucket/prefix`, with
            parameters.
        check_address: raises for an address that is not to be connected to; None for any address.
            With it, a folder is inside of the one that the operator chose, and a bucket has its
            key and secret in the URL: those of this machine are the operator's.
    """

    kind = "s3"
    profile = FILES
    capabilities = Capabilities(
        transactional_ddl=False,
        multi_table_transaction=False,
        load_age_seconds=60.0,
        load_price=(
            "makes a file for each table and subtable that it has rows of",
            "Tables have many small files, which nothing puts together",
        ),
    )

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        self._probe = StoreProbe()
        parts = self._parts = FilesUrl.parse(url)
        is_folder = parts.scheme == FOLDER_SCHEME and not parts.host
        # The text of a malformed URL may repeat the part that holds the secret.
        if (
            parts.scheme not in (FOLDER_SCHEME, BUCKET_SCHEME)
            or (parts.scheme == FOLDER_SCHEME and not is_folder)
            or (is_folder and not parts.path.strip("/."))
            or (parts.scheme == BUCKET_SCHEME and not (parts.host and parts.bucket))
            or not (parts.port or "1").isdigit()
            or (parts.user is None) != (parts.password is None)
        ):
            raise OperatorError(
                f"the destination's URL is not one of files; expected {EXAMPLES} with special "
                "characters percent-encoded"
            )
        refuse_unknown_parameters(parts.parameters, frozenset() if is_folder else PARAMETERS)
        self._seconds = (
            self._read_seconds("connect-timeout", 10.0),
            self._read_seconds("request-timeout", 60.0),
        )
        self._path = Path(parts.path).absolute() if is_folder else None
        if self._path is None and len(parts.prefix.encode()) > PREFIX_BYTES_MAX:
            raise OperatorError(
                f"the destination's URL has a prefix of {len(parts.prefix.encode())} bytes behind "
                f"the bucket; expected {PREFIX_BYTES_MAX} at most, since keys end at 500"
            )
        if self._path is None and find_spec("obstore") is None:
            raise OperatorError(
                "files in a bucket need the library obstore, which is not installed; run "
                'pip install "treadle[files]"'
            )
        if check_address is not None:
            self._require_limits()

    def _read_seconds(self, name: str, default: float) -> float:
        text = self._parts.parameters.get(name)
        try:
            found = default if text is None else float(text)
        except ValueError:
            found = 0.0
        if not 0 < found <= SECONDS_MAX:
            raise OperatorError(
                f"the destination's URL has {name}={text}; expected seconds, above 0 and at most "
                f"{SECONDS_MAX:,}"
            )
        return found

    def _require_limits(self) -> None:
        """Refuse what only the operator may name.

        Raises:
            AccessDeniedError: it is the operator's.
        """
        if self._path is not None and FOLDER_END not in self._parts.path:
            raise AccessDeniedError(
                "a folder outside of the folder for files is named by the operator alone"
            )
        if self._path is None and self._parts.user is None:
            raise AccessDeniedError(
                "a bucket without a key and its secret is named by the operator alone, since "
                "those of the server's machine would be taken"
            )

    @property
    def file(self) -> Path | None:
        """None: a folder is no file that somebody has open."""
        return None

    @property
    def identity(self) -> str:
        """The folder, or the bucket with its prefix, without credentials."""
        if self._path is not None:
            return f"{FOLDER_SCHEME}://{self._path.resolve()}"
        parts = self._parts
        place = parts.host.lower() + (f":{parts.port}" if parts.port else "")
        prefix = f"/{parts.prefix}" if parts.prefix else ""
        return f"{BUCKET_SCHEME}://{place}/{parts.bucket}{prefix}"

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        parts = self._parts
        if self._path is not None or parts.is_encrypted or is_local_host(parts.host):
            return None
        return TransportRisk(
            f"{self.identity} is connected to without TLS at {parts.host}.",
            "Whoever is on the way can read the rows, and change them.",
            REMEDY,
        )

    def open(self, *, read_only: bool = False) -> Session:
        """Open; see `Destination.open`."""
        return FilesSession(self._open_store(), read_only=read_only, probe=self._probe)

    def preview(self) -> Session:
        """Open for reading; a folder that is missing reads as empty. See `Destination`."""
        return self.open(read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Open for one question; see `AskedDestination`."""
        return open_asking(FilesAsking(self._open_store(), seconds))

    def _open_store(self) -> ObjectStore:
        if self._path is not None:
            path = self._path.resolve()
            if not path.parent.is_dir():
                raise OperatorError(f"{path} cannot be made: its folder is missing; make it first")
            if path.exists() and not path.is_dir():
                raise OperatorError(f"{path} is a file; name a folder")
            return FolderStore(path)
        return self._open_bucket()

    def _open_bucket(self) -> ObjectStore:
        from treadle.destinations.files.bucket_store import BucketStore, StoreLogin

        parts = self._parts
        if self._check_address is not None:
            port = int(parts.port) if parts.port else (443 if parts.is_encrypted else 80)
            try:
                check_addresses([(parts.host, port)], self._check_address)
            except OSError as error:
                raise DestinationUnavailableError(
                    f"{self.identity} cannot be reached: {error}"
                ) from error
        config = {
            "endpoint": parts.http_url.rpartition(f"/{parts.path}")[0] or parts.http_url,
            "region": parts.parameters.get("region", DEFAULT_REGION),
        }
        login = None
        if parts.user is not None and parts.password is not None:
            login = StoreLogin(parts.user, parts.password, parts.parameters.get("session-token"))
        is_virtual = parts.parameters.get("virtual-hosts", "false").lower()
        config |= {"virtual_hosted_style_request": is_virtual, "skip_signature": "false"}
        return BucketStore(
            parts.bucket,
            parts.prefix,
            config,
            login=login,
            seconds=self._seconds,
            is_encrypted=parts.is_encrypted,
        )
