"""Rows as Parquet files in an object store, from where Redshift copies them.

Redshift reads the columns of a file in their order, and each by its type: int64, bool, double,
decimal of 38 digits, text, and timestamps in microseconds without a zone.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet
from pyarrow.fs import S3FileSystem

from treadle.destinations.arrow_rows import ARROW_TYPES, make_columns
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    RowRefusedError,
)
from treadle.destinations.sql.connection import Field
from treadle.tables.column_type import ColumnType

ROW_BYTES_MAX: Final = 4 * 1024 * 1024
"""A longer row is refused by COPY, whatever its format."""

ROW_TOO_BIG: Final = "row is too big for Amazon Redshift"

_TYPES: Final[Mapping[ColumnType, Any]] = {
    **ARROW_TYPES,
    ColumnType.TIMESTAMP: pa.timestamp("us"),
}

_DENIED: Final = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP 403")
"""Parts of what the library says where a right or a credential is to blame."""


def make_table(fields: Sequence[Field]) -> "pa.Table":
    """Return rows as an Arrow table.

    Raises:
        RowRefusedError: a value cannot be held, or a row is longer than COPY takes.
    """
    table = make_columns(fields, "Amazon Redshift", _TYPES)
    texts = [array for array in table.columns if pa.types.is_string(array.type)]
    if table.nbytes > ROW_BYTES_MAX and texts:
        sizes = [pc.fill_null(pc.binary_length(array), 0).cast(pa.int64()) for array in texts]
        total = sizes[0]
        for size in sizes[1:]:
            total = pc.add(total, size)
        if pc.max(total).as_py() > ROW_BYTES_MAX:
            raise RowRefusedError(ROW_TOO_BIG)
    return table


class RowFiles:
    """The files of a session, which are removed when Redshift has read them.

    Args:
        folder: `bucket/prefix`.
        options: of `pyarrow.fs.S3FileSystem`: region, endpoint and credentials. Without credentials
            those of the environment are used.
    """

    def __init__(self, folder: str, options: Mapping[str, Any]) -> None:
        self._folder = folder.strip("/")
        self._options = options
        self._store: S3FileSystem | None = None
        self._written: list[str] = []

    def write(self, table: "pa.Table") -> str:
        """Write rows to a new file; returns its URL.

        Raises:
            DestinationUnavailableError, AccessDeniedError: the store does not take it.
        """
        path = f"{self._folder}/treadle-{secrets.token_hex(16)}.parquet"
        self._written.append(path)
        try:
            if self._store is None:
                self._store = S3FileSystem(connect_timeout=10, request_timeout=60, **self._options)
            with self._store.open_output_stream(path) as stream:
                parquet.write_table(table, stream, coerce_timestamps="us")
        except (OSError, pa.ArrowException) as error:
            said = " ".join(str(error).split())
            if any(mark in said for mark in _DENIED):
                raise AccessDeniedError(
                    f"the object store refused a file in s3://{self._folder}: {said}; allow "
                    "s3:PutObject and s3:DeleteObject there"
                ) from error
            raise DestinationUnavailableError(
                f"the object store cannot take a file in s3://{self._folder} now: {said}"
            ) from error
        return f"s3://{path}"

    def remove(self) -> None:
        """Remove all files. One that cannot be removed is left to the rules of the bucket."""
        while self._written:
            path = self._written.pop()
            try:
                if self._store is not None:
                    self._store.delete_file(path)
            except OSError:
                continue
