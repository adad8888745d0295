"""Decides whether a source may load into a schema. A pure function of what the schema holds."""

import enum

from treadle.destinations.protocol import SchemaStatus
from treadle.destinations.reserved_schemas import is_system_schema
from treadle.errors import TableStoppedError
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import SchemaOwner


class SchemaClaim(enum.Enum):
    """A step that a destination does with a schema before the first load into it."""

    MAKE = "make it, and record its owner"
    RECORD = "record its owner"
    KEEP = "nothing"


def claim_schema(
    schema: str, status: SchemaStatus, owner: SchemaOwner, profile: DestinationProfile
) -> SchemaClaim:
    """Return what is to be done so that an owner may load into a schema.

    A schema that is missing and recorded was dropped by hand. It is made again for whom it was
    recorded.

    Args:
        schema: its name.
        status: what the destination holds.
        owner: who is to load.
        profile: of the destination.

    Raises:
        TableStoppedError: the schema is the database's own, treadle's own, another owner's, or was
            made by nobody that is known.
    """
    refuse_system_schema(schema, profile)
    recorded = status.owner
    if recorded is not None and not owner.may_use(recorded):
        raise TableStoppedError(_describe_foreign(schema, owner, "belongs to another source"))
    if not status.exists:
        return SchemaClaim.MAKE
    if recorded is None:
        if owner.source_id not in status.former:
            raise TableStoppedError(
                _describe_foreign(schema, owner, "is there already, and was not made for this one")
            )
        return SchemaClaim.RECORD
    return SchemaClaim.RECORD if owner.succeeds(recorded) else SchemaClaim.KEEP


def refuse_system_schema(schema: str, profile: DestinationProfile) -> None:
    """Check that a schema is neither the database's own nor treadle's own.

    Raises:
        TableStoppedError: it is.
    """
    if is_system_schema(schema, profile):
        raise TableStoppedError(
            f"The schema \"{schema}\" is {profile.display_name}'s own or treadle's own, so no "
            "source is loaded into it. Make a source with another name and send its data again."
        )


def _describe_foreign(schema: str, owner: SchemaOwner, why: str) -> str:
    source = str(owner.source_id or schema)
    return (
        f'The schema "{schema}" {why}. Nothing was written into it. If the source is to load '
        f"there, run `treadle source adopt {source}`."
    )
