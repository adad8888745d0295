"""A session on Snowflake, whose locks are leases in a table.

A lease keeps others from changing the schema of a table, and lasts for a while only. What makes a
load safe is the turn: a transaction that writes rows first takes the one lock that there is, on the
row of `turns`, and then looks whether its leases are its own still. Who takes an expired lease over
takes a turn before it goes on. So a loader that was away for too long has either committed by then,
or finds that its lease is another's.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, LiteralString

from treadle.destinations.layout import PRIVATE_SCHEMA, digest_name, moves_offset
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    LoadResult,
    TableHeldError,
)
from treadle.destinations.snowflake.connection import SnowflakeConnection, name_transaction
from treadle.destinations.snowflake.dialect import SnowflakeStatements
from treadle.destinations.snowflake.errors import LOCKED, error_number, is_unanswered
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.stepped_changes import SteppedStatements
from treadle.destinations.sql.stepped_dialect import RelationPlace
from treadle.destinations.sql.stepped_session import (
    PREPARING,
    SteppedSession,
    SteppedTransactions,
    name_entry,
    name_lock,
)
from treadle.destinations.sql.text import Quoted, compose, number_values
from treadle.errors import TreadleError
from treadle.tables.model import LoadPlan, OffsetCommit, RelationRows

LEASE_SECONDS: Final = 900
"""After which a lease is another's for the taking; no statement takes longer."""

WAIT_SECONDS_MAX: Final = 15

NOW: Final = Quoted("DATE_PART(EPOCH_MICROSECOND, CURRENT_TIMESTAMP())")

PREPARATIONS: Final[tuple[LiteralString, ...]] = (
    "CREATE SCHEMA IF NOT EXISTS {own}",
    "CREATE TABLE IF NOT EXISTS {turns} (turn NUMBER(38,0))",
    "INSERT INTO {turns} SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM {turns})",
    "CREATE TABLE IF NOT EXISTS {leases} (lease VARCHAR, holder VARCHAR, ends_at NUMBER(38,0))",
)
"""What has to be there before the first lease.

The table of leases comes last: where it is there, all of them are.
"""

FIND_LEASE: Final = "SELECT holder, ends_at < {now} FROM {leases} WHERE lease = $1"
TAKE_LEASE: Final = (
    "MERGE INTO {leases} t USING (SELECT $1 AS lease, $2 AS holder, $4 AS former) s"
    " ON t.lease = s.lease"
    " WHEN MATCHED AND (t.ends_at < {now} OR t.holder IN (s.holder, s.former))"
    " THEN UPDATE SET holder = s.holder, ends_at = {now} + $3"
    " WHEN NOT MATCHED THEN INSERT (lease, holder, ends_at)"
    " VALUES (s.lease, s.holder, {now} + $3)"
)
RENEW_LEASES: Final = (
    "UPDATE {leases} SET ends_at = {now} + $1"
    " WHERE holder = $2 AND ends_at > {now} AND lease IN ({names})"
)
LEAVE_LEASE: Final = "DELETE FROM {leases} WHERE lease = $1 AND holder = $2"
GIVE_BACK_LEASE: Final = (
    "UPDATE {leases} SET holder = '', ends_at = 0 WHERE lease = $1 AND holder = $2"
)
"""Whoever has it next takes a turn first, as the holder did not."""
LIST_HOLDERS: Final = "SELECT holder FROM {leases} WHERE ends_at >= {now}"
TAKE_TURN: Final = "UPDATE {turns} SET turn = turn + 1"

LEFT_HOLDERS: Final[set[str]] = set()
"""Holders of this process whose sessions are closed and could not leave their leases. They are few:
as many as connections broke amid a load."""

OVERTAKEN: Final = "another process took this load for lost and has its table now"


class SnowflakeTransactions(SteppedTransactions):
    """Transactions on rows, one at a time, and leases that last beyond them.

    Args:
        connection: to the service.
        holder: as which it has leases; no other session has it.
        read_only: what is left of an earlier load stays so.
    """

    connection: SnowflakeConnection

    def __init__(
        self, connection: SnowflakeConnection, holder: str, *, read_only: bool = False
    ) -> None:
        super().__init__(connection, read_only=read_only)
        self._holder = holder
        self._held: list[str] = []
        self._marks: list[OffsetCommit] = []
        self._is_left = False
        """A lease of this session may be there still when it is closed."""
        self._is_settled = True
        """The service answered each statement of a schema change."""

    def close(self) -> None:
        """Close the connection; see `_may_take` for leases that it could not leave.

        A schema change that was not answered may come late, so its lease is waited for.
        """
        super().close()
        if self._is_left and self._is_settled:
            LEFT_HOLDERS.add(self._holder)

    @contextmanager
    def loading(self, plans: Sequence[LoadPlan], *, rehearse: bool) -> Iterator[None]:
        """Keep other sessions from loading the same tables."""
        with super().loading(plans, rehearse=rehearse):
            self._marks = [plan.offset for plan in plans if moves_offset(plan.offset)]
            yield

    def commit(self) -> None:
        """Commit the loads of a transaction, and see that they are.

        When a transaction is ended from outside, COMMIT after it does nothing and is no error.

        Raises:
            CommitUnknownError: the connection broke meanwhile, or the offset is not there.
        """
        super().commit()
        connection, dialect = self.connection, self.dialect
        for mark in self._marks[:1]:  # those of a transaction are there together
            asked = compose(dialect.claim_offset, **dialect.own_tables)
            key = (mark.log_id, mark.source_id, digest_name(mark.table_name))
            try:
                found = connection.rows(asked, *key)
            except connection.errors as error:
                raise CommitUnknownError("Snowflake did not say what it committed") from error
            if not found or found[0][0] < mark.position:
                raise CommitUnknownError("Snowflake ended the transaction just before COMMIT")

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Have leases that no other session has; see `SteppedTransactions.hold`."""
        taken: list[str] = []
        try:
            for name in sorted(set(names)):  # in one order, so that nobody waits in a circle
                self._wait_for(name)
                taken.append(name)
                self._held.append(name)
            yield
        finally:
            for name in taken:
                self._held.remove(name)
                self._leave_lease(name, LEAVE_LEASE)

    @contextmanager
    def transaction(self, purpose: str = "load") -> Iterator[SqlConnection]:
        """Begin a transaction, in turn if it writes; see `SqlTransactions.transaction`."""
        with super().transaction(purpose) as connection:
            if purpose == "load":
                self._take_turn()
                self.connection.keep_transaction()
                for name in self._held:
                    found = connection.rows(self._fill(FIND_LEASE), name)
                    if found != [(self._holder, False)]:
                        raise DestinationUnavailableError(OVERTAKEN)
            yield connection

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Run a statement of a schema change while the leases of this session are its own.

        They last from now on as long as any statement may take. Nothing checks them once more: see
        the decision "leases and turns" for what that leaves open.
        """
        held = sorted(set(self._held))
        if held:
            with self.translated() as connection:
                names = number_values(3, len(held))
                renewing = self._fill(RENEW_LEASES, names=names)
                found = connection.run(renewing, LEASE_SECONDS * 1_000_000, self._holder, *held)
            if found != len(held):
                raise DestinationUnavailableError(OVERTAKEN)
        try:
            yield
        except BaseException as error:
            is_driven = isinstance(error, Exception) and not isinstance(error, TreadleError)
            if not isinstance(error, Exception) or (is_driven and is_unanswered(error)):
                self._is_settled = False
            raise

    def _wait_for(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self.translated() as connection:
            while not self._take_lease(name):
                if time.monotonic() > deadline:
                    raise TableHeldError("another load of the same table is still running")
                time.sleep(0.5)
            assert connection is self.connection  # noqa: S101 - it is asked all the while

    def _take_lease(self, name: str) -> bool:
        connection = self.connection
        try:
            before = connection.rows(self._fill(FIND_LEASE), name)
        except connection.errors as error:
            if not connection.is_missing(error):
                raise
            for statement in PREPARATIONS:
                connection.run(self._fill(statement))
            before = []
        others = [(holder, is_over) for holder, is_over in before if holder != self._holder]
        if not all(self._may_take(name, *other) for other in others):
            return False
        former = others[0][0] if others else self._holder
        try:
            ends_in = LEASE_SECONDS * 1_000_000
            connection.run(self._fill(TAKE_LEASE), name, self._holder, ends_in, former)
            after = connection.rows(self._fill(FIND_LEASE), name)
            # Nobody keeps two sessions from making the row at once: each sees both, or one does.
            if {holder for holder, _ in after} != {self._holder}:
                connection.run(self._fill(LEAVE_LEASE), name, self._holder)
                return False
            if others:
                self._take_turn()
        except BaseException:
            self._is_left = True
            self._leave_lease(name, GIVE_BACK_LEASE if others else LEAVE_LEASE)
            raise
        return True

    def _may_take(self, name: str, holder: str, is_over: bool) -> bool:
        """Return whether a lease of another holder can be taken.

        One of this very process, whose session is closed, is not waited for: what it has open is
        waited for in turn. Not so a lease under which schemas are made, which knows no turn.
        """
        return is_over or (name != PREPARING and holder in LEFT_HOLDERS)

    def _leave_lease(self, name: str, statement: LiteralString) -> None:
        try:
            self.connection.run(self._fill(statement), name, self._holder)
        except self.connection.errors:  # it ends by itself
            self._is_left = True

    def _take_turn(self) -> None:
        """Wait until no other transaction is open that writes; until this one ends, none is.

        Raises:
            DestinationUnavailableError: one is open for too long.
        """
        connection = self.connection
        try:
            taken = connection.run(self._fill(TAKE_TURN))
        except connection.errors as error:
            if error_number(error) == LOCKED:
                self._end_lost()
            raise
        if not taken:
            raise DestinationUnavailableError(
                f"the table turns of the schema {PRIVATE_SCHEMA} is empty; insert one row with 0"
            )

    def _end_lost(self) -> None:
        """End transactions whose holder has no lease: the service keeps them open for hours."""
        connection = self.connection
        with suppress(*connection.errors):
            live = {holder for (holder,) in connection.rows(self._fill(LIST_HOLDERS))}
            live -= LEFT_HOLDERS
            # Its id, and the name that it was begun by.
            open_ = [(row[0], str(row[3])) for row in connection.rows(Quoted("SHOW TRANSACTIONS"))]
            for number in find_lost(connection.database, live, open_):
                connection.rows(Quoted(f"SELECT SYSTEM$ABORT_TRANSACTION({int(number):d})"))

    def _fill(self, template: LiteralString, **parts: Quoted) -> Quoted:
        dialect = self.dialect
        return compose(
            template,
            now=NOW,
            own=dialect.schema(PRIVATE_SCHEMA),
            leases=dialect.own("leases"),
            turns=dialect.own("turns"),
            **parts,
        )


def find_lost(
    database: str, live: Iterable[str], transactions: Iterable[tuple[Any, str]]
) -> list[Any]:
    """Return the ids of transactions on a database whose holder has no lease.

    Args:
        database: its name.
        live: the holders of leases.
        transactions: id and name of those of the user, on any database.
    """
    prefix = name_transaction(database, "")
    holders = {name_transaction(database, holder) for holder in live}
    named = ((number, name.upper()) for number, name in transactions)
    return [number for number, name in named if name.startswith(prefix) and name not in holders]


def name_folder(database: str, lease: str) -> str:
    """Return the folder of the files of a table: who has its lease has the folder.

    The stage is the user's, for all databases of the account.
    """
    return digest_name(f"{database.lower()}/{lease}")


def list_rows(plan: LoadPlan) -> Iterator[RelationRows]:
    """Give the rows that a plan writes, as its writer asks for them."""
    for write in plan.writes:
        yield write.root
        yield from write.children
        if write.deletes is not None:
            deletes = write.deletes
            yield RelationRows(write.root.relation, deletes.columns, deletes.entries)


class SnowflakeSession(SteppedSession):
    """One connection; see `Session`.

    Rows are staged before the transaction that writes them, since CREATE TABLE ends one.
    """

    schema_statements = SnowflakeStatements
    _transactions: SnowflakeTransactions

    def _change_structure(self, plan: LoadPlan) -> SteppedStatements:
        statements = super()._change_structure(plan)
        self._stage_rows(plan)
        return statements

    def _stage_rows(self, plan: LoadPlan) -> None:
        sent = [rows for rows in list_rows(plan) if len(rows)]
        if not sent:
            return
        with self._transactions.translated() as connection:
            assert isinstance(connection, SnowflakeConnection)  # noqa: S101 - for the type
            lease = name_lock(self._transactions.dialect, plan.schema, name_entry(plan))
            with connection.filing(name_folder(connection.database, lease)):
                for rows in sent:
                    connection.stage_ahead(rows)

    def _shadow(self, plan: LoadPlan, made: list[RelationPlace]) -> SteppedStatements:
        statements = super()._shadow(plan, made)
        self._stage_rows(plan)
        return statements

    def _rehearse(self, plan: LoadPlan) -> LoadResult:
        """Carry a plan out and undo it, or stage its rows where that would change a schema.

        A stage takes the types and lengths of values, and there is nothing else by which the
        service refuses a record.
        """
        transactions = self._transactions
        with transactions.translated() as connection:
            changes = self.schema_statements(connection, plan).changes_structure()
        if not changes:
            return super()._rehearse(plan)
        with transactions.loading([plan], rehearse=True), self._imagining(plan):
            try:
                self._follow(plan)
                with transactions.translated() as connection:
                    self.schema_statements(connection, plan).check()
                self._stage_rows(plan)
                counter = LoadCounter(plan)
                for write in counter.writes():
                    for rows in (write.root, *write.children):
                        counter.count(rows.relation, len(rows))
                return counter.result
            finally:
                transactions.connection.release()
