"""ClickHouse as a destination, over HTTP by clickhouse-connect.

A source has a database of its own there: what PostgreSQL calls a schema. Treadle's own is one of
them, `_treadle`.
"""

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.clickhouse.asking import ClickhouseAsking
from treadle.destinations.clickhouse.connection import SETTINGS, ClickhouseConnection
from treadle.destinations.clickhouse.errors import translate_login
from treadle.destinations.clickhouse.session import ClickhouseSession, ClickhouseTransactions
from treadle.destinations.clickhouse_form import ClickhouseUrl
from treadle.destinations.protocol import Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_connection import (
    CONNECT_SECONDS_MAX,
    connect_server,
    make_tls_context,
)
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk, describe_risk, is_local_host
from treadle.errors import OperatorError
from treadle.tables.profiles import CLICKHOUSE

STATEMENT_SECONDS_MAX: Final = 900
"""A statement that takes longer is taken for hung."""

NEEDED_SETTINGS: Final = (
    *("final", "insert_deduplication_token", "lightweight_deletes_sync", "session_timezone"),
    "insert_allow_materialized_columns",
)
"""Settings without which a load would not be what it has to be."""

FIRST_INSTANT_HELD: Final = "SELECT toUnixTimestamp64Micro(toDateTime64('0001-01-01', 6, 'UTC'))"

TESTED_VERSION: Final = "26.9"

_PARAMETERS: Final = frozenset({"ca_cert", "secure", "verify"})

REMEDY: Final = (
    "Add secure=1 to its URL, with ca_cert=/path/of/the/authority.pem unless the authority is a "
    "public one."
)


class ClickhouseDestination:
    """One server.

    Args:
        url: `clickhouse://user:secret@host:port/database?parameters`. The parameters are `secure`,
            `verify` and `ca_cert`, which may also be the text of certificates.
        check_address: raises for an address that is not to be connected to; None for any address.
    """

    kind = "clickhouse"
    profile = CLICKHOUSE
    capabilities = Capabilities(
        transactional_ddl=False, multi_table_transaction=False, atomic_offsets=False
    )
    file: Path | None = None  # a server has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        parts = ClickhouseUrl.parse(url)
        # The text of a malformed URL may repeat the part that holds the password.
        if not parts.host or parts.user is None or not (parts.port or "1").isdigit():
            raise OperatorError(
                "the destination's URL is not a ClickHouse URL; expected "
                "clickhouse://user:password@host:8123/ with special characters percent-encoded"
            )
        refuse_unknown_parameters(parts.parameters, _PARAMETERS)
        try:
            self._is_secure = parts.read_flag("secure", default=False)
            self._is_verified = parts.read_flag("verify", default=True)
        except ValueError as error:
            raise OperatorError(
                f"the destination's URL has a value for {error} that is none; expected 1 or 0"
            ) from None
        self._parts = parts
        self._port = int(parts.port or parts.default_port)

    @property
    def identity(self) -> str:
        """Host and port."""
        return f"clickhouse://{self._parts.host.lower()}:{self._port}"

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        if is_local_host(self._parts.host) or (self._is_secure and self._is_verified):
            return None
        setting = "verify=0" if self._is_secure else "secure=0"
        return describe_risk(self.identity, setting, REMEDY, encrypts=self._is_secure)

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        connection = ClickhouseConnection(self._log_in(PhaseTimer()), read_only=read_only)
        return ClickhouseSession(
            ClickhouseTransactions(connection, self.identity, read_only=read_only)
        )

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        connection = ClickhouseConnection(self._log_in(PhaseTimer()), read_only=True)
        return open_asking(ClickhouseAsking(connection, self.identity, seconds))

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again, phase by phase; see `ProbedDestination`."""
        self._log_in(timer).close_connections()

    # --- connecting -------------------------------------------------------------------------------

    def _log_in(self, timer: PhaseTimer) -> Client:
        """Connect, and begin each phase of it at a timer."""
        context = self._make_tls() if self._is_secure else None
        address = self._find_address(context, timer)
        timer.begin(CheckPhase.LOG_IN)
        further: dict[str, Any] = {}
        if context is not None:
            further = {
                "ssl_context": context,
                "server_hostname": self._parts.host,
                "assert_hostname": self._parts.host if self._is_verified else False,
            }
        client: Client | None = None
        try:
            client = get_client(
                host=f"[{address}]" if ":" in address else address,
                port=self._port,
                username=self._parts.user,
                password=self._parts.password or "",
                database=self._parts.path or "default",
                secure=self._is_secure,
                compress=False,
                connect_timeout=CONNECT_SECONDS_MAX,
                send_receive_timeout=STATEMENT_SECONDS_MAX,
                client_name="treadle",
                # The address that was checked, and no proxy of the environment.
                pool_mgr=get_pool_manager(verify=self._is_verified, **further),
                server_host_name=None if address == self._parts.host else self._parts.host,
                autogenerate_session_id=False,
                query_limit=0,
            )
            self._check_server(client)
            for name, value in SETTINGS.items():
                if name in client.server_settings:
                    client.set_client_setting(name, value)
        except ClickhouseConnection.errors as error:
            if client is not None:
                client.close_connections()
            raise translate_login(error) from error
        return client

    def _check_server(self, client: Client) -> None:
        """Refuse a server that cannot do what a load needs.

        Raises:
            OperatorError: it is too old.
        """
        lacks = [name for name in NEEDED_SETTINGS if name not in client.server_settings]
        held = "" if lacks else client.raw_query(FIRST_INSTANT_HELD).decode().strip()
        if not lacks and held == str(CLICKHOUSE.timestamp_min_us):
            return
        what = f"the setting {lacks[0]}" if lacks else "times of the years 1 to 9999"
        client.close_connections()
        raise OperatorError(
            f"ClickHouse {client.server_version} does not know {what}; expected a newer server, "
            f"such as {TESTED_VERSION}, which treadle is tested with"
        )

    def _find_address(self, context: ssl.SSLContext | None, timer: PhaseTimer) -> str:
        """Return the address that was checked, and that answers; the driver connects to it.

        The encryption is tried alone, so that it is known what failed.
        """
        connected = connect_server(
            "ClickHouse", self._parts.host, self._port, timer, self._check_address
        )
        with connected:
            address = str(connected.getpeername()[0])
            if context is not None:
                timer.begin(CheckPhase.TLS)
                try:
                    context.wrap_socket(connected, server_hostname=self._parts.host).close()
                except OSError as error:
                    raise translate_login(error) from error
        return address

    def _make_tls(self) -> ssl.SSLContext:
        return make_tls_context(
            self._parts.parameters.get("ca_cert", ""),
            "ca_cert",
            verifies=self._is_verified,
            checks_name=self._is_verified,
        )
