"""The operations on rows of tables and on statements: what may be asked, and how.

They decide and ask nothing: the desk answers what they return. As in `operations`, everything here
blocks.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.control import errors
from treadle.control.lookups import find_source
from treadle.control.query_requests import StatementRequest, mint_question_id
from treadle.destinations.clickhouse_form import ClickhouseUrl
from treadle.destinations.known_kinds import ROLE_TYPES
from treadle.destinations.mysql_form import MysqlUrl
from treadle.destinations.postgres_form import PostgresUrl
from treadle.destinations.redshift_form import RedshiftUrl
from treadle.destinations.registry import find_type
from treadle.destinations.snowflake_form import PORT as SNOWFLAKE_PORT
from treadle.destinations.snowflake_form import SnowflakeUrl
from treadle.http.address_policy import AddressPolicy
from treadle.questions import refusals
from treadle.questions.client import PlannedQuestion
from treadle.questions.orders import (
    AnswerFormat,
    DatabaseOrder,
    QuestionKind,
    ReachOrder,
    RowsOrder,
    StatementOrder,
)
from treadle.store.model import Account, ConfiguredDestination
from treadle.store.store import Store
from treadle.tables.schema_owner import SchemaOwner

PLACES_MAX: Final = 2
"""Questions of the only account that are answered at once. One of several has one place less."""


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """What statements may do; `treadle.config` checks the values.

    Attributes:
        is_on: statements are run.
        seconds: that one may take.
        url: with the role that runs them, for the database of the setting `destination`; None for
            the role that loads.
        turns: the folder of claims, see `LoaderPriority`.
        policy: which addresses of destinations that an account named are connected to.
    """

    is_on: bool = True
    seconds: float = 10.0
    url: str | None = field(default=None, repr=False)
    turns: Path = Path("turns")
    policy: AddressPolicy = AddressPolicy(allows_loopback=False)  # noqa: RUF009 - a value


@dataclass(frozen=True, slots=True)
class QueryOperations:
    """Plans questions.

    Attributes:
        store: sources and destinations; every look-up is inside the account.
        settings: what is allowed.
    """

    store: Store
    settings: QuerySettings

    def plan_statement(
        self, account: Account, asked: StatementRequest, format_: AnswerFormat
    ) -> PlannedQuestion:
        """Plan what `POST /v1/query` asks.

        Raises:
            RequestRefusedError: it is not allowed, or there is no such destination.
        """
        if not self.settings.is_on:
            raise refusals.query_is_off()
        row = self._find_destination(account, asked.destination_id)
        reach, url = self._judge_destination(account, row)
        order = StatementOrder(
            asked.id or mint_question_id(),
            self._place(row, url),
            asked.sql,
            asked.limit,
            format_,
            reach,
            wraps=url is None,
            bytes_max=asked.bytes_max,
        )
        places = PLACES_MAX if reach.is_alone else PLACES_MAX - 1
        return PlannedQuestion(QuestionKind.STATEMENT, order.id, account.id, places, order)

    def plan_rows(
        self, account: Account, source_id: str, table: str, limit: int, format_: AnswerFormat
    ) -> PlannedQuestion:
        """Plan what `GET /v1/sources/{source_id}/tables/{table}/rows` asks.

        Raises:
            RequestRefusedError: there is no such source, or it has no destination.
        """
        source = find_source(self.store, account, source_id)
        if source is None:
            raise errors.source_not_found(source_id, status=404)
        row = self.store.destinations.find_destination_of_source(source.id)
        if row is None:
            raise refusals.destination_missing()
        order = RowsOrder(
            mint_question_id(),
            self._place(row, None),
            source.schema,
            table,
            dict(source.settings),
            SchemaOwner(self.store.installation_id, account.id, source.id),
            limit,
            format_,
        )
        places = PLACES_MAX if self._is_alone(account) else PLACES_MAX - 1
        return PlannedQuestion(QuestionKind.ROWS, order.id, account.id, places, order)

    def _place(self, row: ConfiguredDestination, url: str | None) -> DatabaseOrder:
        named_by_account = row.is_named_by_account and url is None
        return DatabaseOrder(
            url or row.url,
            self.settings.turns.absolute(),
            self.settings.seconds,
            self.settings.policy if named_by_account else None,
        )

    def _find_destination(
        self, account: Account, destination_id: int | None
    ) -> ConfiguredDestination:
        """Return the destination that is named, or the default one of the account."""
        rows = [
            row
            for row in self.store.destinations.list_destinations(account.id)
            if row.deleted_at is None
        ]
        if destination_id is not None:
            chosen = [row for row in rows if row.id == destination_id]
            if not chosen:
                raise errors.destination_unknown(status=404)
            return chosen[0]
        default = self._read_account(account).destination_id
        chosen = [row for row in rows if row.id == default] or rows
        if not chosen:
            raise refusals.destination_missing()
        return chosen[0]

    def _read_account(self, account: Account) -> Account:
        """Return the account as it is now: who asks may have been looked up some time ago."""
        found = (each for each in self.store.accounts.list_accounts() if each.id == account.id)
        return next(found, account)

    def _is_alone(self, account: Account) -> bool:
        return all(each.id == account.id for each in self.store.accounts.list_accounts())

    def _judge_destination(
        self, account: Account, row: ConfiguredDestination
    ) -> tuple[ReachOrder, str | None]:
        """Return what the account may read there, and the URL of the role for it; None for none."""
        url = row.query_url
        if url is None and row.is_held and find_type(self.settings.url or "") == row.type:
            url = self.settings.url
        if self._is_alone(account):
            return ReachOrder(is_alone=True), url
        own: set[str] = set()
        foreign: set[str] = set()
        for account_id, schema in self.store.destinations.list_schemas_beside(row.id):
            (own if account_id == account.id else foreign).add(schema)
        reach = ReachOrder(
            is_alone=False,
            has_own_role=row.query_url is not None,
            owner=SchemaOwner(self.store.installation_id, account.id, 0),
            own=tuple(sorted(own)),
            foreign=tuple(sorted(foreign)),
            shares_login=url is None and self._shares_login(account, row),
        )
        return reach, url

    def _shares_login(self, account: Account, row: ConfiguredDestination) -> bool:
        """Return whether another account's sessions have the same role on the same server."""
        if row.type not in ROLE_TYPES:
            return False
        login = name_login(row.url)
        return any(
            name_login(other.url) == login
            for other in self.store.destinations.list_destinations()
            if other.account_id != account.id
            and other.deleted_at is None
            and other.type == row.type
        )


def name_login(url: str) -> tuple[str, str, str]:
    """Return user, host and port of the URL of a server that knows roles."""
    if url.startswith("clickhouse://"):
        found = ClickhouseUrl.parse(url)
        return found.user or "", found.host.lower(), found.port or str(found.default_port)
    if url.startswith("snowflake://"):
        service = SnowflakeUrl.parse(url)
        return service.user or "", service.full_host, service.port or str(SNOWFLAKE_PORT)
    if url.startswith(("mysql://", "mariadb://")):
        server = MysqlUrl.parse(url)
        return server.user or "", server.host.lower(), server.port or "3306"
    kind = RedshiftUrl if url.startswith("redshift://") else PostgresUrl
    parts = kind.parse(url)
    host = parts.parameters.get("hostaddr") or parts.host
    return parts.user or "", host.lower(), parts.port or "5432"
