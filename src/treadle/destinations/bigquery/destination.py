"""BigQuery as a destination, by google-cloud-bigquery.

A source has a dataset of its own there: what PostgreSQL calls a schema. Treadle's own is one of
them, `_treadle`.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.oauth2 import service_account

from treadle.destinations.asking import AskedSession
from treadle.destinations.bigquery.asking import BigqueryAsking
from treadle.destinations.bigquery.connection import BigqueryConnection
from treadle.destinations.bigquery.dialect import BigqueryDialect
from treadle.destinations.bigquery.errors import ERRORS, translate
from treadle.destinations.bigquery.jobs import REQUEST_SECONDS_MAX, RETRY
from treadle.destinations.bigquery.session import BigquerySession, BigqueryTransactions
from treadle.destinations.bigquery_form import (
    APPEND_ONLY,
    TOKEN_URI,
    UPSERT,
    BigqueryUrl,
    fits_project,
    read_key,
)
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.host_addresses import check_addresses
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError, Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk, describe_risk, is_local_host
from treadle.errors import OperatorError
from treadle.tables.profiles import BIGQUERY, BIGQUERY_APPENDING

QUERY_BYTES_MAX: Final = 10 * 1024**3
"""That a statement of a person's may be billed for, unless the URL says otherwise."""

HTTPS_PORT: Final = 443

SCOPES: Final = ("https://www.googleapis.com/auth/bigquery",)

_PARAMETERS: Final = frozenset(
    {"credentials", "endpoint", "loading_mode", "location", "query_bytes_max"}
)

_RETRY: Final = RETRY.with_timeout(20.0)
"""Of the request that opens a session."""


class BigqueryDestination:
    """One project.

    Args:
        url: `bigquery://project/?location=EU&credentials=/path/of/key.json`. The parameters are
            `location`, `credentials` (a path, or the text of a key), `loading_mode`,
            `query_bytes_max` and, for an emulator, `endpoint`.
        check_address: raises for an address that is not to be connected to; None for any address.
    """

    kind = "bigquery_v2"  # the word of the Connect API
    capabilities = Capabilities(
        transactional_ddl=False,
        load_age_seconds=60.0,
        load_price=(
            "takes seven jobs or more, and of a table with a key is billed for the whole table",
            "Tables wait for each other, and one with 1,500 INSERTs a day is held up by BigQuery",
        ),
    )
    file: Path | None = None  # a service has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        parts = BigqueryUrl.parse(url)
        given = parts.parameters
        if not fits_project(parts.host) or parts.user or parts.path:
            raise OperatorError(
                "the destination's URL is not a BigQuery URL; expected "
                "bigquery://project-id/?location=EU&credentials=/path/of/key.json"
            )
        refuse_unknown_parameters(given, _PARAMETERS)
        mode = given.get("loading_mode", UPSERT)
        if mode not in (UPSERT, APPEND_ONLY):
            raise OperatorError(
                f"the destination's URL has the loading_mode {mode!r}; expected {UPSERT} or "
                f"{APPEND_ONLY}"
            )
        bytes_max = given.get("query_bytes_max", str(QUERY_BYTES_MAX))
        if not (bytes_max.isascii() and bytes_max.isdigit()):
            raise OperatorError(
                "the destination's URL has a query_bytes_max that is no number of bytes"
            )
        self.profile = BIGQUERY_APPENDING if mode == APPEND_ONLY else BIGQUERY
        self._bytes_max = int(bytes_max)
        self._project = parts.host
        self._location = given.get("location")
        self._credentials = given.get("credentials", "")
        self._endpoint = given.get("endpoint", "")

    @property
    def identity(self) -> str:
        """The project; with an endpoint, host and port of that."""
        place = urlsplit(self._endpoint).netloc.lower()
        return f"bigquery://{place}/{self._project}" if place else f"bigquery://{self._project}"

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        parts = urlsplit(self._endpoint)
        if parts.scheme != "http" or is_local_host(parts.hostname or ""):
            return None
        remedy = "Leave endpoint out of its URL, or let it begin with https://."
        return describe_risk(self.identity, "an endpoint of http://", remedy, encrypts=False)

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        return BigquerySession(
            BigqueryTransactions(
                self._connect(PhaseTimer(), read_only=read_only),
                self.identity,
                read_only=read_only,
            )
        )

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        connection = self._connect(PhaseTimer(), read_only=True)
        return open_asking(BigqueryAsking(connection, self.identity, seconds))

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again; see `ProbedDestination`."""
        self._connect(timer, read_only=True).close()

    # --- connecting -------------------------------------------------------------------------------

    def _connect(self, timer: PhaseTimer, *, read_only: bool) -> BigqueryConnection:
        """Make a client, and ask for one dataset: the credentials are tried with that."""
        self._check_endpoint()
        timer.begin(CheckPhase.LOG_IN)
        client: bigquery.Client | None = None
        try:
            client = bigquery.Client(
                project=self._project,
                credentials=self._make_credentials(),
                location=self._location,
                client_options={"api_endpoint": self._endpoint} if self._endpoint else None,
            )
            list(client.list_datasets(max_results=1, retry=_RETRY, timeout=REQUEST_SECONDS_MAX))
        except ERRORS as error:
            if client is not None:
                client.close()
            fault = translate(error)
            if isinstance(fault, AccessDeniedError):
                raise fault from error
            raise DestinationUnavailableError(f"BigQuery cannot be reached: {fault}") from error
        return BigqueryConnection(
            client,
            BigqueryDialect(self.profile),
            read_only=read_only,
            bytes_max=self._bytes_max,
        )

    def _check_endpoint(self) -> None:
        """Check the addresses of an endpoint; Google's own needs no check."""
        parts = urlsplit(self._endpoint)
        host = parts.hostname
        if not host or self._check_address is None:
            return
        try:
            check_addresses([(host, parts.port or HTTPS_PORT)], self._check_address)
        except OSError as error:
            raise DestinationUnavailableError(
                f"BigQuery cannot be reached: the host {host} has no address: {error}"
            ) from error

    def _make_credentials(self) -> Any:
        """Return credentials of a key, or those of the environment for None.

        Of a key only what names the account is taken: it could send the client to another host.

        Raises:
            OperatorError: the key cannot be read.
        """
        text = self._credentials
        if not text:
            return AnonymousCredentials() if self._endpoint else None
        try:
            if not text.lstrip().startswith("{"):
                text = Path(text).read_text(encoding="utf-8")
            key = read_key(text)
            return service_account.Credentials.from_service_account_info(
                {**json.loads(key), "token_uri": TOKEN_URI}, scopes=SCOPES
            )
        except OSError as error:
            # Neither its text nor its cause: both say what was taken for a path, and that may be a
            # key that is written in another way.
            why = (
                f"as a path, they cannot be read: {error.strerror or 'the system gives no reason'}"
            )
        except ValueError:
            why = "what they hold is none"
        raise OperatorError(
            "the credentials of the BigQuery destination are not the key file of a service "
            f"account: {why}. Give the path of the file, or its text, which begins with {{"
        ) from None
