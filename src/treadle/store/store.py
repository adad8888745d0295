"""The store, opened and migrated: one repository for each noun."""

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import select, update

from treadle.clock import read_clock
from treadle.errors import OperatorError, RetriableError
from treadle.postgres_place import is_server_url
from treadle.store import secrets
from treadle.store.accounts import AccountRepository
from treadle.store.checks import CheckRepository
from treadle.store.database import (
    CONNECTIONS_MAX,
    STATEMENTS_MAX,
    StoreDatabase,
    create_store_engine,
    translate_errors,
)
from treadle.store.deliveries import DeliveryRepository
from treadle.store.destinations import DestinationRepository
from treadle.store.errands import ErrandRepository
from treadle.store.errors import MissingStoreError
from treadle.store.hooks import HookRepository
from treadle.store.key_files import KEY_VARIABLE
from treadle.store.keys import KeyRepository
from treadle.store.load_requests import LoadRequestRepository
from treadle.store.loads import LoadRepository
from treadle.store.logs import CLOSED, FIRST_LOG, LogRepository, make_first_log, name_log
from treadle.store.members import MemberRepository
from treadle.store.migration import LEAST_VERSION, has_schema, migrate_schema
from treadle.store.moves import MoveRepository
from treadle.store.notices import NoticeRepository
from treadle.store.operations import OperationRepository
from treadle.store.outcomes import OutcomeRepository
from treadle.store.quotas import QuotaRepository
from treadle.store.recipients import RecipientRepository
from treadle.store.rejects import RejectRepository
from treadle.store.releases import THIS_RELEASE, ReleaseRepository
from treadle.store.schema import logs, meta
from treadle.store.schema_events import SchemaEventRepository
from treadle.store.secrets import SecretCipher
from treadle.store.sessions import SessionRepository
from treadle.store.snoozes import SnoozeRepository
from treadle.store.sources import SourceRepository
from treadle.store.table_schemas import TableSchemaRepository
from treadle.store.tables import TableRepository
from treadle.store.tokens import TokenRepository
from treadle.store.trail import TrailRepository
from treadle.store.trail_event import (
    SERVER_ACTOR,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailTarget,
)
from treadle.store.units import UnitRepository, make_fences
from treadle.store.users import UserRepository

if TYPE_CHECKING:
    from treadle.store.postgres import StoreDurability


class Store:
    """The repositories of one database, SQLite or PostgreSQL.

    Its own methods follow the rules of `StoreRepository`.

    Attributes:
        installation_id: a UUID, made with the store.
        tokens: access tokens of all kinds.
        sessions: of the console, and what opens them.
        logs: the logs of the installation.
        releases: which releases of treadle may use the store.
        users: people who sign in to the console with a password.
        keys: the secret key in force.
    """

    def __init__(self, database: StoreDatabase, installation_id: str) -> None:
        self._database = database
        self.installation_id = installation_id
        self.accounts = AccountRepository(database)
        self.sources = SourceRepository(database)
        self.tokens = TokenRepository(database)
        self.sessions = SessionRepository(database)
        self.users = UserRepository(database)
        self.keys = KeyRepository(database)
        self.destinations = DestinationRepository(database)
        self.checks = CheckRepository(database)
        self.moves = MoveRepository(database)
        self.members = MemberRepository(database)
        self.units = UnitRepository(database)
        self.releases = ReleaseRepository(database)
        self.tables = TableRepository(database)
        self.loads = LoadRepository(database)
        self.logs = LogRepository(database)
        self.outcomes = OutcomeRepository(database)
        self.schema_events = SchemaEventRepository(database)
        self.load_requests = LoadRequestRepository(database)
        self.rejects = RejectRepository(database)
        self.operations = OperationRepository(database)
        self.trail = TrailRepository(database)
        self.quotas = QuotaRepository(database)
        self.recipients = RecipientRepository(database)
        self.notices = NoticeRepository(database)
        self.snoozes = SnoozeRepository(database)
        self.table_schemas = TableSchemaRepository(database)
        self.hooks = HookRepository(database)
        self.deliveries = DeliveryRepository(database)
        self.errands = ErrandRepository(database)

    @classmethod
    def open(
        cls,
        url: str,
        cipher: SecretCipher,
        *,
        clock: Callable[[], int] = read_clock,
        mint: Callable[[str], str] = secrets.mint_token,
        actor: StoreActor | None = SERVER_ACTOR,
        make: bool = True,
        connections: int = CONNECTIONS_MAX,
        statements: int = STATEMENTS_MAX,
    ) -> Self:
        """Open the store; make or migrate it where needed. Several processes may do so at once.

        Args:
            url: `sqlite:///path/of/a/file` or `postgresql://...`.
            cipher: made by `key_files.load_cipher`.
            clock: microseconds since 1970, UTC.
            mint: prefix -> a new token.
            actor: who makes the changes; None to refuse all changes but those of `for_actor`.
            make: make the tables where the database has none.
            connections: most that are open at once to a server.
            statements: most of which the SQL is kept, about.

        Raises:
            MissingStoreError: the database has no store, and none is to be made.
            OperatorError: the URL cannot be used, the store was made by a newer treadle, or its
                secrets were encrypted with another key.
            RetriableError: no server of the store can be reached.
        """
        database = StoreDatabase(url, cipher, clock, mint, actor, connections, statements)
        try:
            with translate_errors():
                migrate_schema(database.engine, make=make)
            installation_id = _read_installation_id(database)
        except MissingStoreError:
            database.close()
            raise MissingStoreError(
                f"there is no store in {_name_place(url)}: make it once by `treadle init` with the "
                "same settings, or name the database that has it"
            ) from None
        except RetriableError as error:
            database.close()
            raise _advise_operator(url, error) from error
        except BaseException:
            database.close()
            raise
        return cls(database, installation_id)

    @staticmethod
    def is_made(url: str) -> bool:
        """Return whether a database has a store, of whatever release.

        Raises:
            OperatorError: the URL cannot be used.
            RetriableError: no server of the store can be reached.
        """
        engine = create_store_engine(url)
        try:
            with translate_errors():
                return has_schema(engine)
        except RetriableError as error:
            raise _advise_operator(url, error) from error
        finally:
            engine.dispose()

    def for_actor(self, actor: StoreActor) -> Self:
        """Return the same store for somebody: the trail names them for every change made with it.

        It uses the connections of this one, so only one of the two is closed.
        """
        return type(self)(self._database.for_actor(actor), self.installation_id)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def read_time(self) -> int | None:
        """Return the time of the store's server, microseconds since 1970; None for a file."""
        if self._database.engine.dialect.name == "sqlite":
            return None
        from treadle.store.postgres import read_server_time

        with self._database.read() as tx:
            return read_server_time(tx.connection)

    def read_durability(self) -> "StoreDurability | None":
        """Return what the store's server does before a commit counts as done; None for a file."""
        if self._database.engine.dialect.name == "sqlite":
            return None
        from treadle.store.postgres import read_durability

        with self._database.read() as tx:
            return read_durability(tx.connection)

    def get_revision(self) -> int:
        """Return the store revision: it grows with each change of accounts, sources or tokens.

        A change of destinations counts too. The revision grows in the transaction of the change. A
        process that reads it before the rows can see later whether these are old.
        """
        revision: int
        [revision] = self._database.ask_often(_REVISION)
        return revision

    def use_log(self, log_id: str, number: int = FIRST_LOG) -> None:
        """Name the log that has a number, whose positions are meant from now on.

        It is called at every start, for each log. With another log than before, the recorded
        positions count for nothing: the new log gives the same positions to other entries.

        Raises:
            OperatorError: the store knows no log of that number.
        """
        with self._database.write() as tx:
            name_log(tx, number, log_id)

    def forget_log(self) -> None:
        """Let the next log that `use_log` names be the first one, since the present one is lost.

        Positions that were recorded count for nothing with it.

        Raises:
            OperatorError: no log of a data folder is in use.
        """
        with self._database.change() as tx:
            lost = update(logs).where(logs.c.number == FIRST_LOG, logs.c.state != CLOSED)
            if not tx.connection.execute(lost.values(log_id="")).rowcount:
                raise OperatorError(
                    "the store has no log in a data folder; one on PostgreSQL is brought back "
                    "there, or closed with `treadle log close --anyway`"
                )
            tx.record(TrailAction.REPLACE_LOG, TrailTarget(TargetKind.LOG), account_id=None)

    def get_log_id(self, number: int = FIRST_LOG) -> str | None:
        """Return the id that `use_log` named last; None when it never did."""
        with self._database.read() as tx:
            query = select(logs.c.log_id).where(logs.c.number == number)
            found: str | None = tx.connection.execute(query).scalar_one_or_none()
        return found or None


_REVISION: Final = select(meta.c.revision)


def _advise_operator(url: str, error: RetriableError) -> RetriableError:
    """Return an error at the start with what to do about it, where the store is on a server."""
    if not is_server_url(url):
        return error
    return RetriableError(
        f"{error}: see that a server of {_name_place(url)} runs, takes writes and can be reached "
        "from here, and try again"
    )


def _name_place(url: str) -> str:
    """Return where a store is, without secrets."""
    from treadle.store.postgres import parse_place

    return parse_place(url).name if is_server_url(url) else url


def _read_installation_id(database: StoreDatabase) -> str:
    """Return the installation's id, made at the first start.

    Raises:
        OperatorError: the secrets of the store were encrypted with another key.
    """
    known = select(meta.c.installation_id, meta.c.key_check, meta.c.form)
    with database.read() as tx:
        row = tx.connection.execute(known).one_or_none()
    if row is None:
        with database.write() as tx:
            tx.connection.execute(
                tx.insert(meta)
                .values(
                    id=1,
                    installation_id=str(uuid.uuid4()),
                    key_check=tx.cipher.check_value,
                    revision=1,
                    least_version=LEAST_VERSION,
                )
                .on_conflict_do_nothing()  # another process may have been first
            )
            make_first_log(tx)
            make_fences(tx)
            row = tx.connection.execute(known).one()
    if not tx.cipher.is_key_of(row.key_check):
        raise OperatorError(
            f"the secret key is not the one this store was made with: bring back the old key file, "
            f"or set {KEY_VARIABLE} to the old key"
        )
    refusal = THIS_RELEASE.find_refusal("", row.form)  # the schema was looked at before
    if refusal is not None:
        raise OperatorError(refusal)
    found: str = row.installation_id
    return found
