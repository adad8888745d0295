"""Gives a source a schema and tables that treadle did not make for it.

Stitch, another installation or the operator made them. Nothing is adopted by itself: whoever can
name a source or a table could have what is there otherwise.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from treadle.destinations.protocol import SchemaStatus, Session
from treadle.errors import OperatorError, TableStoppedError
from treadle.store.model import Source
from treadle.tables import names
from treadle.tables.model import PhysicalRelation, Table
from treadle.tables.plan.reconcile import adopt_table
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import SchemaOwner


@dataclass(frozen=True, slots=True)
class AdoptionCandidate:
    """A table of the schema that no load made.

    Attributes:
        name: as the destination spells it.
        table: the catalogue entry that it would get; None where it cannot be adopted.
        reason: why it cannot; None where it can.
    """

    name: str
    table: Table | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """The changes that an adoption would make.

    Attributes:
        schema: the schema of the source.
        status: the status of the schema before.
        owner: the owner of the schema afterwards.
        candidates: the tables, by name.
    """

    schema: str
    status: SchemaStatus
    owner: SchemaOwner
    candidates: tuple[AdoptionCandidate, ...]

    @property
    def takes_schema(self) -> bool:
        """Return whether the schema is not recorded for the source yet."""
        return self.status.exists and self.status.owner != self.owner

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return the catalogue entries of the tables that can be adopted."""
        return tuple(each.table for each in self.candidates if each.table is not None)


def plan_adoption(
    session: Session,
    source: Source,
    sources: Sequence[Source],
    installation_id: str,
    profile: DestinationProfile,
    wanted: Collection[str] = (),
) -> AdoptionPlan:
    """Find what an adoption would change; change nothing.

    Args:
        session: on the destination of the source.
        source: that is to load into its schema.
        sources: all of the store.
        installation_id: of the store.
        profile: of the destination.
        wanted: names of the tables; empty for all that can be adopted.

    Raises:
        OperatorError: there is no such schema or table, or the schema belongs to a source that is
            not deleted.
        TableStoppedError: a table that is wanted cannot be adopted.
    """
    schema = source.schema
    owner = SchemaOwner(installation_id, source.account_id, source.id)
    status = session.schema_status(schema)
    if not status.exists:
        raise OperatorError(
            f"There is no schema {schema!r} in the destination, so there is nothing to adopt: the "
            "first load makes it."
        )
    for other in sources:
        holder = replace(owner, account_id=other.account_id, source_id=other.id)
        if holder == status.owner and other.deleted_at is None and other.id != source.id:
            raise OperatorError(
                f"The schema {schema!r} belongs to the source {other.name} ({other.id}), which is "
                "not deleted. Delete that one first, or make a source with another name."
            )
    physical = session.unknown_relations(schema)
    if wanted:
        chosen = [_find_name(name, physical, schema, profile) for name in wanted]
        tables = [adopt_table(name, physical, schema, profile) for name in chosen]
        found = [AdoptionCandidate(table.name, table) for table in tables]
    else:
        found = list_candidates(physical, schema, profile)
    return AdoptionPlan(schema, status, owner, tuple(found))


def list_candidates(
    physical: Mapping[str, PhysicalRelation], schema: str, profile: DestinationProfile
) -> list[AdoptionCandidate]:
    """Return the tables among relations that no load made, by name; subtables with their tables."""
    found: list[AdoptionCandidate] = []
    taken: set[str] = set()
    # Shorter names first, so that a table comes before its subtables.
    for name in sorted(physical, key=lambda name: (len(name), name)):
        if name in taken:
            continue
        try:
            table = adopt_table(name, physical, schema, profile)
        except TableStoppedError as error:
            found.append(AdoptionCandidate(name, None, str(error)))
            continue
        taken |= {relation.name for relation in table.relations}
        found.append(AdoptionCandidate(name, table))
    return sorted(found, key=lambda each: names.byte_order(each.name))


def carry_out(session: Session, plan: AdoptionPlan) -> None:
    """Record what was planned in the destination, in one transaction.

    Raises:
        PlanOutdatedError: a load made or adopted one of the tables meanwhile.
    """
    session.adopt(plan.schema, plan.owner, plan.tables)


def _find_name(
    wanted: str,
    physical: Mapping[str, PhysicalRelation],
    schema: str,
    profile: DestinationProfile,
) -> str:
    for name in physical:
        if profile.fold(name) == profile.fold(wanted):
            return name
    known = ", ".join(sorted(physical)) or "none"
    raise OperatorError(
        f"The schema {schema!r} holds no table {wanted!r} that treadle did not make; there is "
        f"{known}."
    )
