"""Amazon Redshift as a destination, by psycopg 3."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import psycopg
from psycopg import sql

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.libpq.destination import LibpqDestination
from treadle.destinations.libpq.session import LibpqSession
from treadle.destinations.object_store_form import make_store_options
from treadle.destinations.protocol import LoadResult, Session
from treadle.destinations.redshift.asking import RedshiftAsking
from treadle.destinations.redshift.connection import RedshiftConnection
from treadle.destinations.redshift.dialect import RedshiftSchemaStatements
from treadle.destinations.redshift.row_files import RowFiles
from treadle.destinations.redshift_form import (
    FOLDER_PATTERN,
    REGION_PATTERN,
    ROLE_PATTERN,
    RedshiftUrl,
)
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.destinations.statement_asking import open_asking
from treadle.errors import OperatorError
from treadle.tables.model import LoadPlan
from treadle.tables.profiles import REDSHIFT

SESSION_SETTINGS: Final = sql.SQL(
    """
    SET timezone TO 'UTC';
    SET extra_float_digits TO 2;
    SET statement_timeout TO 900000;
    """
)
"""Doubles are read as they are, and a hung statement ends after 15 minutes."""


class RedshiftDestination(LibpqDestination):
    """One database.

    Args:
        url: `redshift://user:secret@host:port/database?parameters`. Besides those of libpq the
            parameters are `s3` (`bucket/prefix`), `iam_role`, `region`, and `s3.endpoint`,
            `s3.access-key-id` and `s3.secret-access-key`.
        check_address: raises for an address that is not to be connected to; None for any address.
    """

    kind = "redshift"
    server = "Amazon Redshift"
    scheme = "redshift"
    port = "5439"
    profile = REDSHIFT
    capabilities = Capabilities()

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        parts = RedshiftUrl.parse(url)
        super().__init__(parts.format_libpq(), check_address)
        own = parts.own_parameters
        self._folder, self._role = own.get("s3", ""), own.get("iam_role", "")
        for name, value, pattern, form in (
            ("s3", self._folder, FOLDER_PATTERN, "bucket/prefix"),
            ("iam_role", self._role, ROLE_PATTERN, "arn:aws:iam::<account>:role/<name> or default"),
            ("region", own.get("s3.region", ""), REGION_PATTERN, "one such as eu-central-1"),
        ):
            if value and not re.fullmatch(pattern, value):
                raise OperatorError(f"the destination's URL has {name}={value!r}; expected {form}")
        if bool(self._folder) != bool(self._role):
            raise OperatorError(
                "the destination's URL has one of s3 and iam_role; expected both, so that rows are "
                "copied from files, or none, so that they are sent by INSERT"
            )
        self._options = make_store_options(own)

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        return RedshiftSession(SqlTransactions(self._log_in(read_only=read_only)))

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        return open_asking(RedshiftAsking(self._log_in(read_only=True), seconds))

    def _log_in(self, *, read_only: bool) -> RedshiftConnection:
        files = RowFiles(self._folder, self._options) if self._folder else None
        return RedshiftConnection(self._connect(read_only), files, self._role, read_only=read_only)

    def _set_up_session(
        self, connection: psycopg.Connection[tuple[Any, ...]], *, read_only: bool
    ) -> None:
        connection.execute(SESSION_SETTINGS)


class RedshiftSession(LibpqSession):
    """One connection; see `Session`."""

    schema_statements = RedshiftSchemaStatements

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out; a rehearsal copies its few rows, to try the place of files as well."""
        connection = self._transactions.connection
        assert isinstance(connection, RedshiftConnection)  # noqa: S101 - for the type
        connection.copies_all = rehearse
        try:
            return super().load(plan, rehearse=rehearse)
        finally:
            connection.copies_all = False
