"""The contract of a destination, the place where rows go.

A *mark* is the `OffsetCommit` of a plan: how far the log entries of a table are loaded.

- `load` carries a plan out: schema changes, rows, `_sdc_rejected` rows, the catalogue entry and the
  mark. When it returns, all of it is committed; when it raises, no row, rejection or mark of it is,
  except `CommitUnknownError`, after which the caller asks `committed` before it does anything else.
- A load has two steps. `change` makes the schema changes; `write` writes the rest, in one
  transaction. With `Capabilities.transactional_ddl` both are in that transaction, so a load that
  raises has changed no schema either. Without it a schema change is committed when it is made:
  it may then be there though the load failed, so `change` only adds and renames, can be repeated,
  and notes in the catalogue what is pending, which `state` completes.
- A plan whose mark the destination already holds, or whose revision is not the present one, is
  refused with `PlanOutdatedError` and changes nothing. So a load may be repeated after any failure.
- A mark with a lower fence than the one held is refused with `FencedError`.
- Everything treadle keeps for itself lives in the schema `_treadle` of the destination.
- A schema belongs to the source it was made for. The destination records the owner with the schema,
  in the same transaction, and compares it at every load. A schema that is there and not recorded
  is not written into.
- Identifiers are quoted by the driver's own tools.
- A session is used by one thread at a time and is closed by whoever opened it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from treadle.destinations.capabilities import Capabilities
from treadle.errors import OperatorError, RetriableError, TreadleError
from treadle.tables.model import LoadPlan, PhysicalRelation, Relation, Table, TableState
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import UNOWNED, SchemaOwner


class DestinationUnavailableError(RetriableError):
    """The destination cannot be reached, is starting or full, or is held by somebody else."""


class FileHeldError(DestinationUnavailableError):
    """Another process has the file of the destination open, so that nobody can write to it."""


class TableHeldError(DestinationUnavailableError):
    """Another session has a table and did not leave it in time; the other tables can be loaded."""


class SearchUnfinishedError(TableHeldError):
    """Records that the database refuses are still looked for; another try of the load goes on."""


class CommitUnknownError(RetriableError):
    """The connection broke during COMMIT; ask `committed` what became of the load."""


class PlanOutdatedError(RetriableError):
    """The table changed since the plan was computed: read the state again and plan anew."""


class FencedError(TreadleError):
    """Another loader holds this table now.

    Attributes:
        held: the fence that the destination holds; 0 where it is not known.
    """

    def __init__(self, text: str, held: int = 0) -> None:
        super().__init__(text)
        self.held = held


class AccessDeniedError(OperatorError):
    """The destination's user lacks a right; the text carries the destination's own message."""


class MissingRelationError(OperatorError):
    """A statement of the operator's is about a table or schema that is not there."""


class RowRefusedError(TreadleError):
    """The engine refused a value or a row of the plan; the records have to be found one by one.

    Attributes:
        reason: text for `_sdc_rejected`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChangeRefusedError(PlanOutdatedError, RowRefusedError):
    """The database refused a schema change, which may be due to a name that a record brought.

    Somebody else may also have changed the table: so the load is planned anew first.

    Attributes:
        fault: what the error means where no record is to blame.
    """

    def __init__(self, reason: str, fault: TreadleError) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The outcome of a committed load.

    Attributes:
        rows: relation name -> rows inserted or updated (live relations; staged rows under the
            live relation's name).
        superseded: entry index -> root rows that lost against a row already in the table.
        objects: relation name -> the objects that the rows are in, each with the bucket or folder
            in front; None where rows are in no objects that a reader sees.
    """

    rows: Mapping[str, int]
    superseded: Mapping[int, int]
    objects: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """The last load of one table of one log, as the destination keeps it.

    Attributes:
        position: `OffsetCommit.position` of that load.
        report: `OffsetCommit.report` of that load.
        result: the result, as `load` returned it or would have.
    """

    position: int
    report: str
    result: LoadResult


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """A schema as it is, and the owner that the destination has recorded for it.

    Attributes:
        exists: it is there.
        owner: None where none is recorded.
        former: sources that loaded into it before owners were recorded; empty where there is a
            record, or where the schema holds tables that treadle did not make and nothing else.
    """

    exists: bool
    owner: SchemaOwner | None = None
    former: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Numbers of rows of a root relation.

    Attributes:
        duplicates: rows beyond the first of their key.
        batches: `_sdc_batched_at`, microseconds since 1970 -> rows of it; None for rows without.
    """

    rows: int
    duplicates: int
    batches: Mapping[int | None, int]


@dataclass(frozen=True, slots=True)
class RelationPair:
    """Two relations with the same path in two builds of a table; either may be missing.

    Attributes:
        here, there: names; None where there is no such relation.
        key: pairs of key columns; empty to compare rows as a whole.
        columns: pairs of other columns with the same field and type, None where one side lacks it:
            then it counts as NULL.
        texts: names in `columns`, of either side, that are compared as text.
    """

    here: str | None
    there: str | None
    key: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str | None, str | None], ...]
    texts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowDiff:
    """Numbers of rows by which two relations differ.

    Attributes:
        only_here, only_there: rows whose key only the one has; without a key, rows as a whole.
        different: rows with the same key and other values.
    """

    only_here: int
    only_there: int
    different: int


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of a query for a person or a test, as Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


ValueBatch = Sequence[Sequence[Any]]
"""Some rows of a query, column by column: for each column its values, all of the same length."""


@dataclass(frozen=True, slots=True)
class QueryStream:
    """Rows of a query, which are read from the database while they are taken.

    Attributes:
        columns: their names; none where the statement gives no rows.
        batches: the rows. To stop early ends the statement.
    """

    columns: tuple[str, ...]
    batches: Iterator[ValueBatch]


class LoadSession(Protocol):
    """One connection, as far as loading needs it."""

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""

    def __exit__(self, *exc: object) -> None:
        """Close."""

    def prepare(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing.

        Raises:
            TableStoppedError: the schema is there and not the owner's.
        """

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Check what `prepare` would; change nothing.

        Raises:
            TableStoppedError: the schema is there and not the owner's.
        """

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return (source id, table name as sent) -> the last load, for one log.

        It is committed with the rows. A loader that died after COMMIT, before it noted what the
        load did, finds it here.
        """

    def state(self, schema: str, table: str) -> TableState:
        """Return revision, catalogue entry and physical relations of a canonical table name."""

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the `_sdc_sequence` that each key has in the table now: None for no such row.

        Args:
            schema: the source's schema.
            relation: the root relation, live or staged.
            keys: one sequence of values per key column, in the order of `relation.key`.
            private: the relation is a stage.
        """

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out by `change` and `write`; with `rehearse`, undo everything at the end.

        A rehearsal also makes, and undoes, what `prepare` would.

        Raises:
            RowRefusedError: the database refused a row; nothing was changed.
            PlanOutdatedError, FencedError, DestinationUnavailableError, CommitUnknownError,
                AccessDeniedError: see the classes.
            TableStoppedError: the schema is not that of the plan's owner.
        """

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry out plans of different tables in one transaction: all of them, or none.

        A transaction takes a database as long as a small load, so small loads share one. Only for
        destinations with `Capabilities.transactional_ddl`.

        Returns:
            The results, in the order of the plans.

        Raises:
            As `load`. The error does not say which plan failed; each can then be loaded alone.
        """

    def change(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there, and make its schema changes.

        A step of `load`, which begins what has to be undone when a step fails.

        Raises:
            PlanOutdatedError, FencedError: it does not follow.
            ChangeRefusedError: the database refused one of them.
            TableStoppedError: the schema is not that of the plan's owner.
        """

    def write(self, plan: LoadPlan) -> LoadResult:
        """Write a plan's rows, rejections, catalogue entry and mark; the other step of `load`."""

    def evict(self, member: str) -> int:
        """End the sessions that another process has here, and undo what they have under way.

        Only for destinations with `Capabilities.evictable`.

        Args:
            member: as that process gave it to `NamedSessions.name_sessions`.

        Returns:
            How many were ended.

        Raises:
            DestinationUnavailableError: some did not end; they may hold locks still.
        """

    def close(self) -> None:
        """Close."""


class Inspection(Protocol):
    """Questions of people and repairs to a destination that answers SQL (`sql_query`)."""

    def relations(self, schema: str) -> list[str]:
        """Return the tables, views and sequences in a schema, by name; none where it is missing.

        An `_sdc_rejected` as `prepare` makes it, with no rows, is left out.
        """

    def list_log_ids(self, prefix: str) -> list[str]:
        """Return the logs whose names begin so and of which marks are held."""

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation that is there.

        Args:
            schema: the source's schema.
            relation: the root.
            since: rows of older batches are left out of `batches`; microseconds since 1970.
        """

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of a pair of relations in two schemas (`Capabilities.row_compare`)."""

    def ddl(self, plan: LoadPlan, shown_as: str | None = None) -> list[str]:
        """Return the statements by which `prepare` and `load` would change the schema for a plan.

        They are in order and the same that `load` executes; none is run. Copying and dropping a
        stage is among them. Tables that a load makes and removes itself are left out.

        Args:
            plan: not done.
            shown_as: the name to show for the schema. An account is not told that the schema of
                its source has another name, since that is because of another account.
        """

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's.

        Raises:
            MissingRelationError: a table or schema is not there.
            OperatorError: another fault of the statement, in the database's words.
            DestinationUnavailableError: see there.
        """

    def stream_query(self, sql: str) -> AbstractContextManager[QueryStream]:
        """Run one statement of the operator's, and give its rows in bounded memory.

        Raises:
            MissingRelationError, OperatorError, DestinationUnavailableError: as `query`; also while
                rows are taken.
        """

    def count_query(self, sql: str, seconds: float) -> int | None:
        """Return how many rows a statement of the operator's gives.

        Args:
            sql: one that was run.
            seconds: after which the question is given up.

        Returns:
            None where it takes too long, or where the statement cannot stand in another one.
        """

    def clock(self) -> int | None:
        """Return the server's time, microseconds since 1970; None where it runs in this process."""


class Adoption(Protocol):
    """The adoption of schemas and tables that treadle did not make, by an operator."""

    def schema_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""

    def unknown_relations(self, schema: str) -> Mapping[str, PhysicalRelation]:
        """Return the tables and views in a schema that no catalogue entry names, as they are."""

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, in place of any other, and entries for tables in it.

        Args:
            schema: that is there, or is to be made.
            owner: of it from now on.
            tables: without a catalogue entry so far.

        Raises:
            TableStoppedError: the schema is the database's or treadle's own.
            PlanOutdatedError: a table has an entry by now.
        """


class Rebuild(Protocol):
    """Requests of a rebuild, which builds a table anew beside the live one.

    A table that was built beside another takes its place by a plan whose mark says `replaces_rows`.
    """

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table, and all that is kept of it as far as it is there.

        Its rows of `_sdc_rejected` go too, and the schema when nothing else is in it.

        Args:
            schema: where it is; of no source.
            table: its canonical name.
            log_id: of the marks it was loaded with, all of which are forgotten.
        """


class Session(LoadSession, Inspection, Adoption, Rebuild, Protocol):
    """One connection with every part; `Capabilities` says which parts a destination has."""


@runtime_checkable
class EndingSession(Protocol):
    """A session of a destination where a load may leave something to be done after its COMMIT."""

    @property
    def has_unended(self) -> bool:
        """Whether this session could not do what was left of a load."""

    def end_loads(self) -> None:
        """Do what is left of all loads that are committed, whoever did them.

        Until then a table has its former rows, or its former key. What cannot be done now is told
        in a log line, and `has_unended` says so afterwards.

        Raises:
            DestinationUnavailableError, AccessDeniedError: it cannot be asked what is left.
        """


@runtime_checkable
class NamedSessions(Protocol):
    """A destination whose sessions tell who opened them, for `Session.evict`."""

    def name_sessions(self, member: str) -> None:
        """Let the sessions that are opened from now on be those of a member of the cluster."""


class Destination(Protocol):
    """A place rows go to; cheap to make, opens nothing until `open`."""

    @property
    def kind(self) -> str:
        """Registry name, for example "postgres"."""

    @property
    def profile(self) -> DestinationProfile:
        """The answers to the loading rules."""

    @property
    def identity(self) -> str:
        """The same text for the same database, whatever the credentials; no secret in it."""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of the destination."""

    @property
    def file(self) -> Path | None:
        """The file that the first load makes; None where a server has to be there."""

    def open(self, *, read_only: bool = False) -> Session:
        """Connect.

        Raises:
            DestinationUnavailableError: not reachable now.
            AccessDeniedError: credentials or rights.
        """

    def preview(self) -> Session:
        """Connect for reading what a load would meet; a file that is missing reads as empty.

        Raises:
            DestinationUnavailableError, AccessDeniedError: as `open`.
        """
