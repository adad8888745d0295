"""Computes one load of one table; nothing is done yet (loading.md 1.2 steps 4 to 7).

`plan_load` is a pure function of the prepared records (`PreparedLoad`) and the state of the table
(`TableState`). When it needs the sequences that some keys have in the table, it returns a
`SequenceLookup`. The caller asks the destination and calls it again with the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from treadle.errors import TableStoppedError
from treadle.tables import names
from treadle.tables.arrow_column import to_values
from treadle.tables.model import (
    ChangeKey,
    Column,
    CopyStage,
    DropStage,
    EmptyRelation,
    FieldNote,
    LoadPlan,
    OffsetCommit,
    Relation,
    SchemaChange,
    StagedVersion,
    Table,
    TableOptions,
    TableState,
    TableWrite,
)
from treadle.tables.names import Namer
from treadle.tables.plan import contracts
from treadle.tables.plan import keys as keys_
from treadle.tables.plan.bookmarks import find_bookmarks
from treadle.tables.plan.reconcile import LiveRelations, reconcile_table
from treadle.tables.plan.sequence_lookup import KnownSequences, SequenceLookup
from treadle.tables.plan.target import NeedsRejections, RelationTarget
from treadle.tables.plan.versions import VersionOutcome, resolve_versions
from treadle.tables.prepare.frame import RelationPath, make_row_picker
from treadle.tables.prepare.key_mismatch import KeyMismatches, describe_stop
from treadle.tables.prepare.prepare import PreparedLoad, prepare_load
from treadle.tables.prepare.version_group import VersionGroup, merge_groups
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

STAGE_AGE_MAX = 30 * 86_400_000_000
"""Microseconds after which a version that was never activated goes (loading.md 9.2)."""


def plan_load(
    prepared: PreparedLoad,
    state: TableState,
    *,
    profile: DestinationProfile,
    options: TableOptions,
    mark: OffsetCommit,
    now: int,
    log_id: str,
    known: KnownSequences | None = None,
) -> LoadPlan | SequenceLookup:
    """Compute a load.

    Args:
        prepared: what `prepare_load` made of the entries, with the same profile and options.
        state: what the destination holds.
        profile: of the destination.
        options: of the table.
        mark: how far the log is loaded before and after.
        now: microseconds since 1970, UTC.
        log_id: name of the log the entries are from.
        known: answers to earlier lookups.

    Raises:
        TableStoppedError: the table cannot be loaded until somebody acts (loading.md 5.2, 5.4).
    """
    while True:
        found = _LoadPlanner(
            prepared, state, profile, options, mark, now, log_id, known or KnownSequences()
        ).plan_load()
        if not isinstance(found, NeedsRejections):
            return found
        prepared = prepared.reject_records(found.reasons, found.keys)


def plan_swap(
    state: TableState,
    rebuilt: Table,
    *,
    schema: str,
    source_name: str,
    profile: DestinationProfile,
    options: TableOptions,
    mark: OffsetCommit,
    now: int,
    owner: SchemaOwner = UNOWNED,
) -> LoadPlan:
    """Compute how the rows of a rebuilt table replace those that are there.

    It is like the activation of a newer version (loading.md 9.2): the relations stay, with the
    columns of the user, and get the columns, subtables and keys that they lack.

    Args:
        state: what the destination holds in `schema`.
        rebuilt: the catalogue entry of the table in another schema of the same destination.
        schema: the source's.
        owner: of that schema.
        source_name: the table's name as sent.
        profile: of the destination.
        options: of the table.
        mark: one with `replaces_rows`.
        now: microseconds since 1970, UTC.

    Raises:
        TableStoppedError: the existing table cannot take the rows.
    """
    prepared = prepare_load(
        [], profile=profile, options=options, schema=schema, source_name=source_name, owner=owner
    )
    planner = _LoadPlanner(
        prepared, state, profile, options, mark, now, mark.log_id, KnownSequences()
    )
    found = planner.plan_swap(rebuilt)
    if not isinstance(found, LoadPlan):
        raise TableStoppedError(
            f'Table "{prepared.table_name}" cannot take the rebuilt rows, it would have too many '
            "columns. Drop it first."
        )
    return found


Unmet = SequenceLookup | NeedsRejections
"""What is needed before a plan can be made."""


class _RowsOfLoad(NamedTuple):
    """Rows of one version to write, and rows to remove (option hard_delete)."""

    group: VersionGroup | None
    deletes: VersionGroup | None


@dataclass(eq=False)
class _LoadPlanner:
    """Plans one load; made anew for each attempt.

    It collects schema changes and writes while it goes through the table's versions: first the live
    relations, then those of versions that wait for their activation.
    """

    prepared: PreparedLoad
    state: TableState
    profile: DestinationProfile
    options: TableOptions
    offset: OffsetCommit
    now: int
    log_id: str
    known: KnownSequences
    _changes: list[SchemaChange] = field(default_factory=list, init=False)
    _writes: list[TableWrite] = field(default_factory=list, init=False)
    _omitted: contracts.OmittedFields = field(default_factory=dict, init=False)
    _mismatches: KeyMismatches = field(default_factory=frozenset, init=False)
    _origins: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._namer = Namer(self.profile, self.options)
        self._appending = (
            self.options.loading_behavior == "append"
            or not self.profile.upserts
            or self.profile.append_only
        )
        self._superseded = dict(self.prepared.superseded)
        before = self.state.table.batched_at if self.state.table is not None else 0
        self._batched_at = max(self.now, before + 1)

    def plan_load(self) -> LoadPlan | Unmet:
        prepared, before = self.prepared, self.state.table
        if not prepared.groups and not prepared.activations:
            return self._make_plan(before, None)
        live = self._reconcile()
        outcome = resolve_versions(
            prepared.groups,
            prepared.activations,
            before,
            # Nothing says which version an adopted table holds: the first one sent is taken.
            exists=live.root is not None and not live.adopted,
            appending=self._appending,
        )
        if outcome.version is None:
            return self._make_plan(before, None)
        table = self._plan_table(live, outcome, outcome.version)
        return self._make_plan(table, outcome) if isinstance(table, Table) else table

    def plan_swap(self, rebuilt: Table) -> LoadPlan | Unmet:
        """Plan to replace the rows of this table by another's; see the function `plan_swap`."""
        before = self.state.table
        live = self._reconcile()
        stage = StagedVersion(rebuilt.version, rebuilt.keys, rebuilt.relations, self.now)
        target = self._plan_live(
            live, VersionOutcome(rebuilt.version, swapped=True), rebuilt.version, stage
        )
        if not isinstance(target, RelationTarget):
            return target
        self._changes = [
            replace(
                change,
                schema=rebuilt.schema,
                tombstones="" if change.stage != rebuilt.name else rebuilt.tombstones_relation,
            )
            if isinstance(change, CopyStage)
            else change
            for change in self._changes
        ]
        waiting = before.stages if before is not None else ()
        self._changes += [
            DropStage(relation.name)
            for each in waiting
            if each.version <= rebuilt.version
            for relation in each.relations
        ]
        table = self._make_table(
            target,
            rebuilt.version,
            tuple(each for each in waiting if each.version > rebuilt.version),
            tombstones=rebuilt.tombstones,
        )
        table = replace(table, batched_at=max(table.batched_at, rebuilt.batched_at))
        return self._make_plan(table, None)

    def _reconcile(self) -> LiveRelations:
        prepared = self.prepared
        source = str(prepared.owner.source_id or prepared.schema)
        return reconcile_table(self.state, prepared.table_name, source, self.profile)

    def _plan_table(
        self, live: LiveRelations, outcome: VersionOutcome, version: int
    ) -> Table | Unmet:
        before = self.state.table
        stages = {stage.version: stage for stage in before.stages} if before is not None else {}
        stage = stages.pop(version, None)
        target = self._plan_live(live, outcome, version, stage)
        if not isinstance(target, RelationTarget):
            return target
        outdated = [v for v, s in stages.items() if v < version or self._is_expired(s, outcome)]
        dropped = [*(stages.pop(v) for v in outdated), *((stage,) if stage is not None else ())]
        self._changes += [DropStage(relation.name) for old in dropped for relation in old.relations]
        for staged, groups in sorted(outcome.staged.items()):
            found = self._plan_stage(staged, groups, stages.get(staged), live)
            if not isinstance(found, StagedVersion):
                return found
            stages[staged] = found
        waiting = tuple(stages[v] for v in sorted(stages))
        return self._make_table(target, version, waiting, tombstones=self.options.hard_delete)

    def _make_table(
        self,
        target: RelationTarget,
        version: int,
        stages: tuple[StagedVersion, ...],
        *,
        tombstones: bool,
    ) -> Table:
        before = self.state.table
        keeps = tombstones or (before is not None and before.tombstones)
        noted = before.tombstones_relation if before is not None else ""
        if keeps and not (before is not None and before.tombstones):
            noted = names.name_tombstones(
                self.prepared.owner, self.prepared.schema, self.prepared.table_name
            )
        return Table(
            schema=self.prepared.schema,
            name=target.relations[0].name,
            keys=target.keys,
            keyless=target.keyless,
            append=target.append,
            version=version,
            relations=target.relations,
            stages=stages,
            batched_at=self._batched_at,
            tombstones=keeps,
            tombstones_relation=noted,
        )

    def _is_expired(self, stage: StagedVersion, outcome: VersionOutcome) -> bool:
        return stage.version not in outcome.staged and self.now - stage.created_at > STAGE_AGE_MAX

    def _plan_live(
        self,
        live: LiveRelations,
        outcome: VersionOutcome,
        version: int,
        stage: StagedVersion | None,
    ) -> RelationTarget | Unmet:
        keys = self._choose_keys(live, outcome, stage)
        if self._mismatches:
            return NeedsRejections({}, self._mismatches)
        keyless = keys == keys_.GENERATED_KEY_COLUMNS
        append, root_key = self._choose_constraint(live, outcome, keys, keyless)
        if outcome.swapped or live.root is None:
            # Subtables stay behind when the user drops their root: what is in them goes too, since
            # a table that was dropped holds only new data (loading.md 5.2).
            root = () if live.root is None else (live.root,)
            self._changes += [
                EmptyRelation(relation.name) for relation in (*root, *live.children.values())
            ]
        target = self._make_target(
            self.prepared.table_name if live.root is None else live.root.name,
            live.root,
            live.children,
            keys,
            append=append,
            root_key=root_key,
            version=version,
            live=live,
        )
        # The rows that the new ones meet: after a swap those of the stage.
        met, private = live.root, False
        if outcome.swapped or live.root is None:
            met, private = (stage.relations[0] if stage is not None else None), True
        unmet = self._fill(target, outcome.live, met, live, private=private, stage=stage)
        return target if unmet is None else unmet

    def _fill(
        self,
        target: RelationTarget,
        groups: Sequence[VersionGroup],
        met: Relation | None,
        live: LiveRelations,
        *,
        private: bool,
        stage: StagedVersion | None = None,
    ) -> Unmet | None:
        """Plan the columns and rows of a target.

        Args:
            target: to write to.
            groups: of its version.
            met: the root relation whose rows the new ones meet; None when there are none.
            live: the table's relations.
            private: `met` is a stage's.
            stage: staged rows to copy into the target.
        """
        group = merge_groups(groups, self.profile, self._superseded, self.options)
        rows = self._select_rows(target, group, met, live, private=private)
        if not isinstance(rows, _RowsOfLoad):
            return rows
        target.allocate(rows.group, () if stage is None else stage.relations, self.options)
        refused = target.check_columns(rows.group, self.prepared)
        if refused is not None:
            return refused
        self._changes += target.changes
        if not target.private:
            self._changes += self._find_key_changes(target, live)
            if target.changes and rows.group is not None:
                self._origins |= target.find_origins(rows.group)
        if stage is not None:
            self._changes += _copy_stage(target, stage, self.profile)
        write = target.make_write(rows.group, rows.deletes, self.options, fresh=met is None)
        if write is not None:
            self._writes.append(write)
        return None

    def _make_target(
        self,
        name: str,
        root: Relation | None,
        children: Mapping[RelationPath, Relation],
        keys: tuple[Column, ...],
        *,
        append: bool,
        root_key: tuple[str, ...],
        version: int,
        live: LiveRelations | None,
    ) -> RelationTarget:
        return RelationTarget(
            name=name,
            source_name=self.prepared.source_name,
            root=root,
            children=children,
            keys=keys,
            append=append,
            root_key=root_key,
            private=live is None,
            version=version,
            unknown_columns=live.unknown_columns if live is not None else {},
            column_counts=live.column_counts if live is not None else {},
            namer=self._namer,
            batched_at=self._batched_at,
            log_id=self.log_id,
            positions=[arrival.position for arrival in self.prepared.log_batches],
            stage_name=self._name_stage,
        )

    def _choose_keys(
        self, live: LiveRelations, outcome: VersionOutcome, stage: StagedVersion | None
    ) -> tuple[Column, ...]:
        """Return the key columns afterwards; a new version may change them (loading.md 9.3)."""
        profile = self.profile
        if live.root is not None and not outcome.swapped:
            differs = not keys_.have_same_names(live.keys, outcome.live, profile)
            appended = (
                self.options.key_change == "append" and live.keys != keys_.GENERATED_KEY_COLUMNS
            )
            if not (differs and appended):
                self._check_keys(live.keys, outcome.live)
            return live.keys
        if stage is not None:
            keys = stage.keys
        elif outcome.live:
            keys = keys_.find_key_columns(outcome.live)
        elif live.root is None:
            # Made by records of this load and emptied by an activation in it.
            keys = keys_.find_key_columns(outcome.ignored)
        else:
            return live.keys
        self._check_keys(keys, outcome.live)
        if live.root is None:
            keys_.check_orphan_keys(tuple(live.children.values()), keys, self._namer)
            return keys
        held = {profile.fold(column.field): column.type for column in live.keys}
        if {profile.fold(column.field): column.type for column in keys} == held:
            return live.keys
        types = {profile.fold(column.field): column.type for column in live.root.columns}
        for column in keys:
            there = types.get(profile.fold(column.field), column.type)
            if there is not column.type:
                # Rejected as single records, all of the newer version would leave an empty table.
                where = f"version {outcome.version}, which is to replace the rows there are"
                raise TableStoppedError(
                    describe_stop(column.field, there, column.type, where)
                    + ". Drop the table, to have it made anew with that type."
                )
        return keys

    def _check_keys(self, keys: tuple[Column, ...], groups: Sequence[VersionGroup]) -> None:
        """Compare the keys of records with a table's, and note what is to be rejected."""
        batches = self.prepared.log_batches
        refused = keys_.find_mismatches(keys, groups, self.profile, batches)
        if self.options.key_types == "stop":
            keys_.raise_stop(refused, groups, batches)
        self._mismatches |= refused

    def _choose_constraint(
        self, live: LiveRelations, outcome: VersionOutcome, keys: tuple[Column, ...], keyless: bool
    ) -> tuple[bool, tuple[str, ...]]:
        """Return whether rows are appended, and the root's primary key afterwards."""
        declared = tuple(column.name for column in keys)
        if keyless:
            return False, declared
        if live.root is None or keys != live.keys:
            return self._appending, () if self._appending else declared
        if not live.root.key or not live.constrained:
            return True, live.root.key
        differs = not outcome.swapped and not keys_.have_same_names(
            keys, outcome.live, self.profile
        )
        if self._appending or differs:
            return True, ()
        return False, live.root.key

    def _find_key_changes(self, target: RelationTarget, live: LiveRelations) -> list[SchemaChange]:
        before = {relation.name: relation.key for relation in live.children.values()}
        if live.root is not None:
            before[live.root.name] = live.root.key
        return [
            ChangeKey(relation.name, before[relation.name], relation.key)
            for relation in target.relations
            if before.get(relation.name, relation.key) != relation.key
        ]

    # --- versions that wait ---

    def _plan_stage(
        self,
        version: int,
        groups: Sequence[VersionGroup],
        before: StagedVersion | None,
        live: LiveRelations,
    ) -> StagedVersion | Unmet:
        fold = self.profile.fold
        keys = keys_.find_key_columns(groups) if before is None else before.keys
        self._check_keys(keys, groups)
        if self._mismatches:
            return NeedsRejections({}, self._mismatches)
        children = {
            tuple(map(fold, relation.path)): relation
            for relation in (before.relations if before is not None else ())
        }
        root = children.pop((), None)
        target = self._make_target(
            self._name_stage(version, ()),
            root,
            children,
            keys,
            append=False,
            root_key=tuple(column.name for column in keys),
            version=version,
            live=None,
        )
        unmet = self._fill(target, groups, root, live, private=True)
        if unmet is not None:
            return unmet
        created = self.now if before is None else before.created_at
        return StagedVersion(version, keys, target.relations, created)

    def _name_stage(self, version: int, path: RelationPath) -> str:
        return names.name_stage_relation(
            self.prepared.owner, self.prepared.schema, self.prepared.table_name, version, path
        )

    # --- records that do not win ---

    def _select_rows(
        self,
        target: RelationTarget,
        group: VersionGroup | None,
        met: Relation | None,
        live: LiveRelations,
        *,
        private: bool,
    ) -> _RowsOfLoad | Unmet:
        """Select the rows to write, and the rows to remove (option hard_delete)."""
        deletes = None
        if group is not None and target.upsert and self.options.hard_delete:
            group, deletes = _split_deleted(group, self.profile)
        if group is not None and met is not None and target.upsert:
            found = self._drop_outdated(target, group, met, private=private)
            if isinstance(found, SequenceLookup):
                return found
            group = found
        if group is not None and not contracts.allows_everything(self.options):
            relations = dict(live.children)
            if live.root is not None:
                relations[()] = live.root
            kept = contracts.apply_contracts(group, relations, self.prepared, self._namer)
            if isinstance(kept, NeedsRejections):
                return kept
            group, left_out = kept
            self._omitted |= left_out
        return _RowsOfLoad(group, deletes)

    def _drop_outdated(
        self, target: RelationTarget, group: VersionGroup, met: Relation, *, private: bool
    ) -> VersionGroup | SequenceLookup | None:
        """Drop records that would change the table but lose against a row (loading.md L37)."""
        rows = target.find_rows_with_new_columns(group)
        if not rows:
            return group
        answers = self.known.answers.get((met.name, private), {})
        by_name = {column.name: column for column in target.keys}
        fields = group.frames[0].fields
        columns = [
            next(iter(fields[self.profile.fold(by_name[name].field)].columns.values()))
            for name in met.key
        ]
        held = list(
            zip(*(to_values(make_row_picker(rows)(column)) for column in columns), strict=True)
        )
        missing = [key for key in dict.fromkeys(held) if key not in answers]
        if missing:
            return SequenceLookup(met, tuple(zip(*missing, strict=True)), private)
        last = self.options.sequence_tie == "last"
        lost = set()
        for row, key in zip(rows, held, strict=True):
            there, here = answers[key], group.sequences[row]
            if there is not None and (here < there or (here == there and not last)):
                lost.add(row)
                entry = group.entries[row]
                self._superseded[entry] = self._superseded.get(entry, 0) + 1
        if not lost:
            return group
        stay = [row for row in range(group.size) if row not in lost]
        return group.take_rows(stay) if stay else None

    def _make_plan(self, table: Table | None, outcome: VersionOutcome | None) -> LoadPlan:
        prepared = self.prepared
        ignored: dict[int, int] = {}
        written: list[VersionGroup] = []
        if outcome is not None:
            for group in outcome.ignored:
                for entry in group.entries:
                    ignored[entry] = ignored.get(entry, 0) + 1
            written = [*outcome.live, *(g for groups in outcome.staged.values() for g in groups)]
        return LoadPlan(
            schema=prepared.schema,
            table_name=prepared.table_name if table is None else table.name,
            offset=self.offset,
            revision=self.state.revision,
            changes=tuple(self._changes),
            writes=tuple(self._writes),
            rejections=(
                *prepared.rejections,
                *(omitted.rejection for omitted in self._omitted.values()),
            ),
            rejected_at=self.now,
            batched_at=self._batched_at,
            table_after=table,
            received=prepared.received,
            ignored=ignored,
            superseded=self._superseded,
            left_out=(
                *prepared.left_out,
                *(
                    FieldNote(left.rejection.table_name, name, left.counts, left.rejection.reason)
                    for (_, name), left in self._omitted.items()
                ),
            ),
            rounded=prepared.rounded,
            nul_removed=prepared.nul_removed,
            new_version=any(isinstance(change, EmptyRelation) for change in self._changes),
            extracted_max=prepared.extracted_max,
            bookmarks=find_bookmarks(prepared.bookmark_names, written, self._namer),
            owner=prepared.owner,
            key_conflicts=prepared.key_conflicts,
            origins=self._origins,
        )


def _split_deleted(
    group: VersionGroup, profile: DestinationProfile
) -> tuple[VersionGroup | None, VersionGroup | None]:
    """Return the rows without a value in `_sdc_deleted_at`, and those with one."""
    marker = group.frames[0].fields.get(profile.fold(names.DELETED_AT))
    if marker is None:
        return group, None
    missing = marker.find_missing()
    gone = [row for row, is_missing in enumerate(missing) if not is_missing]
    rest = [row for row, is_missing in enumerate(missing) if is_missing]
    return (group.take_rows(rest) if rest else None), (group.take_rows(gone) if gone else None)


def _copy_stage(
    target: RelationTarget, stage: StagedVersion, profile: DestinationProfile
) -> list[SchemaChange]:
    """Return the changes that copy staged rows into the live relations, parents first."""
    changes: list[SchemaChange] = []
    for relation in stage.relations:
        live, places = target.get_relation(tuple(map(profile.fold, relation.path)))
        pairs = tuple(
            (column.name, places[profile.fold(column.field), column.type])
            for column in relation.columns
        )
        changes.append(CopyStage(relation.name, live.name, pairs))
    return changes
