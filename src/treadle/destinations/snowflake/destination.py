"""Snowflake as a destination, by its own driver.

A source has a schema in the database of the URL. Treadle's own is one of them, `_TREADLE`.
"""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from snowflake.connector import SnowflakeConnection as Driver
from snowflake.connector.errors import Error

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.protocol import Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_connection import connect_server
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.snowflake.asking import SnowflakeAsking
from treadle.destinations.snowflake.connection import SnowflakeConnection
from treadle.destinations.snowflake.errors import translate_login
from treadle.destinations.snowflake.session import (
    LEASE_SECONDS,
    SnowflakeSession,
    SnowflakeTransactions,
)
from treadle.destinations.snowflake_form import DOMAINS, PORT, SnowflakeUrl
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import is_local_host
from treadle.errors import OperatorError
from treadle.tables.profiles import SNOWFLAKE

LOGIN_SECONDS_MAX: Final = 30

SESSION_PARAMETERS: Final = {
    "TIMEZONE": "UTC",
    "LOCK_TIMEOUT": 15,  # half a day by default; the load is repeated
    "STATEMENT_TIMEOUT_IN_SECONDS": LEASE_SECONDS,
    "MULTI_STATEMENT_COUNT": 1,  # an account may let one text be several statements
    "TIMESTAMP_INPUT_FORMAT": "AUTO",  # in which the literals of times are read
    "ABORT_DETACHED_QUERY": True,  # a statement ends with the process that asked for it
    "QUERY_TAG": "treadle",
    "ERROR_ON_NONDETERMINISTIC_MERGE": True,
    "CLIENT_TELEMETRY_ENABLED": False,
}

KEY_BEGIN: Final = "-----BEGIN "
"""How the text of a key begins, which takes the place of the path of a file."""

_PARAMETERS: Final = frozenset({"private_key", "protocol", "role", "warehouse"})


class SnowflakeDestination:
    """One database of an account.

    Args:
        url: `snowflake://user:secret@account/database?parameters`, with the identifier of the
            account or its host. The parameters are `warehouse`, `role` and `private_key`, a file
            or the text of a key, whose passphrase the secret is then.
        check_address: raises for an address that is not to be connected to; None for any address.
            With it only hosts of the service are connected to: an answer of theirs says what the
            driver writes where.
    """

    kind = "snowflake"
    profile = SNOWFLAKE
    capabilities = Capabilities(
        transactional_ddl=False,
        load_age_seconds=60.0,
        load_price=(
            "keeps the warehouse awake",
            "A warehouse that never sleeps is billed all the time",
        ),
    )
    file: Path | None = None  # a service has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        parts = SnowflakeUrl.parse(url)
        # The text of a malformed URL may repeat the part that holds the password.
        fits = parts.host and parts.user and parts.path and (parts.port or "1").isdigit()
        if not fits or "/" in parts.path:
            raise OperatorError(
                "the destination's URL is not a Snowflake URL; expected "
                "snowflake://user:password@account/database?warehouse=NAME&role=NAME with special "
                "characters percent-encoded"
            )
        refuse_unknown_parameters(parts.parameters, _PARAMETERS)
        self._protocol = parts.parameters.get("protocol", "https")
        if self._protocol != "https" and not is_local_host(parts.full_host):
            raise OperatorError("the destination's URL has a protocol other than https")
        if check_address is not None and not parts.full_host.endswith(DOMAINS):
            raise OperatorError(
                f"the host {parts.full_host} is none of Snowflake's; expected one that ends with "
                f"{' or '.join(DOMAINS)}"
            )
        self._parts = parts
        self._port = int(parts.port or PORT)

    @property
    def identity(self) -> str:
        """Host and database."""
        return f"snowflake://{self._parts.full_host}/{self._parts.path.lower()}"

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        holder = uuid.uuid4().hex
        driver = self._log_in(PhaseTimer())
        connection = SnowflakeConnection(driver, self._parts.path, holder, read_only=read_only)
        return SnowflakeSession(SnowflakeTransactions(connection, holder, read_only=read_only))

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        driver = self._log_in(PhaseTimer())
        connection = SnowflakeConnection(driver, self._parts.path, uuid.uuid4().hex)
        return open_asking(SnowflakeAsking(connection, seconds))

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again, phase by phase; see `ProbedDestination`."""
        self._log_in(timer).close()

    def _log_in(self, timer: PhaseTimer) -> Driver:
        """Connect, and begin each phase of it at a timer."""
        parts = self._parts
        host = parts.full_host
        # The driver would try for as long as a login may take, and say less.
        connect_server("Snowflake", host, self._port, timer, self._check_address).close()
        timer.begin(CheckPhase.LOG_IN)
        try:
            driver = Driver(
                account=parts.account,
                host=host,
                port=self._port,
                protocol=self._protocol,
                user=parts.user,
                database=parts.path,
                warehouse=parts.parameters.get("warehouse"),
                role=parts.parameters.get("role"),
                application="treadle",
                paramstyle="qmark",
                autocommit=True,
                login_timeout=LOGIN_SECONDS_MAX,
                network_timeout=LEASE_SECONDS,
                session_parameters=SESSION_PARAMETERS,
                validate_default_parameters=True,
                client_prefetch_threads=1,
                arrow_number_to_decimal=True,
                **self._find_secret(),
            )
        except Error as error:
            raise translate_login(error) from error
        send_once(driver)
        return driver

    def _find_secret(self) -> dict[str, Any]:
        """Return what the driver logs in with.

        Raises:
            OperatorError: the key cannot be read.
        """
        key, secret = self._parts.parameters.get("private_key", ""), self._parts.password
        if not key:
            return {"password": secret or ""}
        try:
            text = key.encode() if key.startswith(KEY_BEGIN) else Path(key).read_bytes()
            read = load_pem_private_key(text, secret.encode() if secret else None)
        except (OSError, TypeError, ValueError) as error:
            reason = "it is no key in PEM, or the URL has another passphrase in place of a password"
            if isinstance(error, OSError):
                reason = error.strerror or "no such file"
            raise OperatorError(f"the key of private_key cannot be read: {reason}") from None
        return {
            "authenticator": "SNOWFLAKE_JWT",
            "private_key": read.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        }


def send_once(driver: Driver) -> None:
    """Have a driver send each statement once.

    By itself it sends one again when the answer does not come, with the same id. The service
    promises for its SQL API alone that such a statement is not executed twice, and an INSERT that
    was would double its rows. What fails is undone and tried again by treadle.
    """
    fetch = driver.rest.fetch

    def fetch_once(method: str, *args: Any, **options: Any) -> Any:
        if method == "post":
            options["no_retry"] = True
        return fetch(method, *args, **options)

    driver.rest.fetch = fetch_once
