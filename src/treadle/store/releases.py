"""Which releases of treadle may use a store together, and what an upgrade still waits for.

The members of a cluster are upgraded one after the other, so two releases run side by side for a
while. A release reads and writes what the one before can read. When all members are of the new one,
`treadle upgrade finish` says so to the store: from then on the release before is refused, and new
forms may be written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, inspect, select, update

from treadle import __version__
from treadle.errors import OperatorError
from treadle.store import migration
from treadle.store.database import StoreRepository, create_store_engine, translate_errors
from treadle.store.members import list_seen_members
from treadle.store.membership import ClusterMember, SeenMember
from treadle.store.schema import members, meta
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

ENTRY_FORM: Final = 1
"""The newest form of the log's entries that this release reads. It writes that of the store."""

SCHEMA_NOTE: Final = "schema"
FORM_NOTE: Final = "form"


@dataclass(frozen=True, slots=True)
class TreadleRelease:
    """What a release knows.

    Attributes:
        version: of treadle, such as "0.2.0".
        schema: the newest schema revision of the store.
        form: the newest form of entries.
        least_schema: the newest schema revision that others have to know to use a store that this
            release has migrated; empty for none.
    """

    version: str
    schema: str
    form: int
    least_schema: str = ""

    @property
    def notes(self) -> dict[str, object]:
        """What a member notes about its release, for the others."""
        return {SCHEMA_NOTE: self.schema, FORM_NOTE: self.form}

    def find_refusal(self, least_schema: str, form: int) -> str | None:
        """Return why this release may not go on with a store; None where it may.

        Args:
            least_schema: the newest schema revision that a treadle has to know for it.
            form: the form of entries that is written.
        """
        if self.schema >= least_schema and self.form >= form:
            return None
        return (
            f"the upgrade to a newer treadle was finished: the store asks for one that knows the "
            f"schema {least_schema or self.schema} and the form {form}, and this one "
            f"({self.version}) knows up to {self.schema} and {self.form}: install that version"
        )


THIS_RELEASE: Final = TreadleRelease(
    __version__, migration.HEAD_REVISION, ENTRY_FORM, migration.LEAST_VERSION
)


@dataclass(frozen=True, slots=True)
class StoreForms:
    """What a store says about releases.

    Attributes:
        schema: its schema revision.
        least_schema: the newest one that a treadle has to know to use it; empty for none.
        form: of the entries that are written.
    """

    schema: str
    least_schema: str
    form: int


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """How far an upgrade is.

    Attributes:
        forms: of the store.
        members: all of them.
        older: the live ones that are of an earlier release.
        newer: the live ones that are of a later release.
        stranded: the live ones that cannot go on once this release has migrated the store.
    """

    forms: StoreForms
    members: Sequence[SeenMember]
    older: Sequence[ClusterMember]
    newer: Sequence[ClusterMember]
    stranded: Sequence[ClusterMember]

    def is_finished(self, release: TreadleRelease) -> bool:
        """Return whether the store refuses every release before this one."""
        return self.forms.least_schema >= release.schema and self.forms.form >= release.form


def judge_upgrade(
    forms: StoreForms, seen: Sequence[SeenMember], release: TreadleRelease
) -> UpgradeState:
    """Compare the members of a store with a release.

    Args:
        forms: of the store.
        seen: its members.
        release: the new one.
    """
    live = [one.member for one in seen if one.is_live]
    return UpgradeState(
        forms,
        seen,
        older=[one for one in live if _knows_less(one, release)],
        newer=[one for one in live if _knows_more(one, release)],
        stranded=[
            one
            for one in live
            if forms.schema < release.schema and read_schema(one) < release.least_schema
        ],
    )


def read_schema(member: ClusterMember) -> str:
    """Return the newest schema revision that a member knows; empty where it did not say."""
    return str(member.notes.get(SCHEMA_NOTE, ""))


def read_form(member: ClusterMember) -> int:
    """Return the newest form of entries that a member knows; 0 where it did not say."""
    found = member.notes.get(FORM_NOTE, 0)
    return found if isinstance(found, int) else 0


def compare_versions(one: str, other: str) -> int:
    """Return -1, 0 or 1: whether a version is earlier than another, by its numbers."""
    first, second = _read_numbers(one), _read_numbers(other)
    return (first > second) - (first < second)


def _read_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))


def _knows_less(member: ClusterMember, release: TreadleRelease) -> bool:
    return (
        compare_versions(member.version, release.version) < 0
        or read_schema(member) < release.schema
        or read_form(member) < release.form
    )


def _knows_more(member: ClusterMember, release: TreadleRelease) -> bool:
    return (
        compare_versions(member.version, release.version) > 0
        or read_schema(member) > release.schema
        or read_form(member) > release.form
    )


class ReleaseRepository(StoreRepository):
    """What the store says about releases."""

    def get_forms(self) -> StoreForms:
        """Return what the store says about releases."""
        with self._database.read() as tx:
            return _read_forms(tx.connection)

    def finish_upgrade(self, release: TreadleRelease) -> UpgradeState:
        """Let only a release and later ones use the store from now on, if all members are of it.

        A member of an earlier release that runs unseen stops at its next beat.

        Args:
            release: of all members.

        Returns:
            What was found. Nothing is changed where it names older, newer or stranded members, or
            where there is nothing to change.
        """
        with self._database.change() as tx:
            forms = _read_forms(tx.connection)
            found = judge_upgrade(forms, list_seen_members(tx.connection), release)
            if found.older or found.newer or found.is_finished(release):
                return found
            tx.connection.execute(
                update(meta).values(
                    least_version=max(forms.least_schema, release.schema),
                    form=max(forms.form, release.form),
                )
            )
            tx.record(
                TrailAction.FINISH_UPGRADE,
                TrailTarget(TargetKind.STORE, None, release.version),
                account_id=None,
                detail={SCHEMA_NOTE: release.schema, FORM_NOTE: release.form},
            )
            return found


def examine_upgrade(url: str, release: TreadleRelease) -> UpgradeState | None:
    """Look at a store before or during an upgrade; nothing is migrated. None where there is none.

    Args:
        url: of the store.
        release: the new one.

    Raises:
        OperatorError: the URL or the rights of its user are at fault, or the store is older than
            the list of members.
        RetriableError: no server can be reached.
    """
    engine = create_store_engine(url)
    try:
        with translate_errors(), engine.connect() as connection:
            if migration.read_revision(connection) is None:
                return None
            present = inspect(connection)
            columns = {one["name"] for one in present.get_columns(meta.name)}
            if not present.has_table(members.name) or meta.c.form.name not in columns:
                raise OperatorError(
                    "the store is older than the list of members, so its release runs on one "
                    "machine alone: stop it, install the new one, and start it"
                )
            forms = _read_forms(connection)
            return judge_upgrade(forms, list_seen_members(connection), release)
    finally:
        engine.dispose()


def _read_forms(connection: Connection) -> StoreForms:
    least_schema, form = connection.execute(select(meta.c.least_version, meta.c.form)).one()
    return StoreForms(migration.read_revision(connection) or "", least_schema, form)
