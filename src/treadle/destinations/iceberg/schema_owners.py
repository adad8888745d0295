"""The owners of schemas, each in a property of a table in treadle's own schema."""

from collections.abc import Sequence
from contextlib import suppress

from pyiceberg.exceptions import TableAlreadyExistsError

from treadle import failpoint
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.relation_draft import commit_properties
from treadle.destinations.iceberg.table_head import LEDGER, make_ledger, read_head
from treadle.destinations.iceberg.table_load import make_rejections
from treadle.destinations.iceberg.table_record import (
    OWNER,
    SCHEMA,
    HeadNote,
    HeadRecord,
    decode_owner,
    encode_head,
    encode_owner,
    name_owner,
)
from treadle.destinations.layout import PRIVATE_SCHEMA, REJECTED
from treadle.destinations.protocol import PlanOutdatedError, SchemaStatus
from treadle.destinations.schema_claim import SchemaClaim, claim_schema, refuse_system_schema
from treadle.tables.model import LoadPlan, Table
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import SchemaOwner


class OwnerRecords:
    """Makes schemas, and records whose they are.

    Args:
        catalogue: that the schemas are in.
        profile: of the catalogue.
    """

    def __init__(self, catalogue: IcebergCatalogue, profile: DestinationProfile) -> None:
        self._catalogue = catalogue
        self._profile = profile

    def read_owner(self, schema: str) -> SchemaOwner | None:
        """Return the owner of a schema; None where none is recorded."""
        noted = self._catalogue.load(PRIVATE_SCHEMA, name_owner(schema))
        return None if noted is None else decode_owner(noted.properties[OWNER])

    def read_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""
        return SchemaStatus(self._catalogue.holds_schema(schema), self.read_owner(schema))

    def check_owner(self, schema: str, owner: SchemaOwner) -> None:
        """Check that a schema is missing or the owner's; see `LoadSession.check_owner`."""
        claim_schema(schema, self.read_status(schema), owner, self._profile)

    def check_plan(self, plan: LoadPlan, *, rehearses: bool) -> None:
        """Check that a plan is of the owner of its schema, which only a rehearsal may lack.

        Raises:
            PlanOutdatedError: no owner is recorded by now.
            TableStoppedError: it is another one.
        """
        recorded = self.read_owner(plan.schema)
        if recorded is not None:
            claim_schema(plan.schema, SchemaStatus(True, recorded), plan.owner, self._profile)
        elif rehearses:
            self.check_owner(plan.schema, plan.owner)
        else:
            raise PlanOutdatedError(f"the destination holds no owner of the schema {plan.schema!r}")

    def prepare_schema(self, schema: str, owner: SchemaOwner) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing."""
        status = self.read_status(schema)
        claim = claim_schema(schema, status, owner, self._profile)
        if claim is not SchemaClaim.KEEP:
            if not self._catalogue.holds_schema(PRIVATE_SCHEMA):
                self._catalogue.make_schema(PRIVATE_SCHEMA)
            # The owner comes first: a schema that is there and not recorded is nobody's.
            if status.owner is None or owner.succeeds(status.owner):
                self._record_owner(schema, owner)
            if not status.exists:
                self._catalogue.make_schema(schema)
        failpoint.reach("destination.prepare")
        self._complete_schema(schema)

    def adopt_schema(self, schema: str, owner: SchemaOwner, tables: Sequence[Table]) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        refuse_system_schema(schema, self._profile)
        self._catalogue.make_schema(PRIVATE_SCHEMA)
        if self.read_owner(schema) != owner:
            self._record_owner(schema, owner)
        if not self._catalogue.holds_schema(schema):
            self._catalogue.make_schema(schema)
        self._complete_schema(schema)
        for table in tables:
            add_entry(self._catalogue, table)

    def _complete_schema(self, schema: str) -> None:
        if self._catalogue.load(schema, REJECTED) is None:
            with suppress(TableAlreadyExistsError):  # another session was first
                make_rejections(self._catalogue, schema)

    def _record_owner(self, schema: str, owner: SchemaOwner) -> None:
        name = name_owner(schema)
        properties = {SCHEMA: schema, OWNER: encode_owner(owner)}
        noted = self._catalogue.load(PRIVATE_SCHEMA, name)
        if noted is not None:
            commit_properties(noted, properties)
            return
        try:
            self._catalogue.make(PRIVATE_SCHEMA, name, LEDGER, properties)
        except TableAlreadyExistsError:
            if self.read_owner(schema) != owner:
                raise


def add_entry(catalogue: IcebergCatalogue, table: Table) -> None:
    """Write the catalogue entry of a table that treadle did not make.

    Raises:
        PlanOutdatedError: it has one by now.
    """
    head = read_head(catalogue, table.schema, table.name)
    if head.record.entry is not None and head.record.entry.relations:
        raise PlanOutdatedError(f"the table {table.name!r} is known by now")
    followed = head.record.follow("adopted")
    note = HeadNote(followed.note.number, followed.note.revision + 1, followed.note.loads)
    record = HeadRecord(note, table, followed.marks)
    if head.ledger is None:
        make_ledger(catalogue, head, table.name, record)
    else:
        commit_properties(head.ledger, encode_head(record))
