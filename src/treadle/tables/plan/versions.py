"""Decides to which table version records belong, and what is activated (loading.md 9.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.tables.model import Table
from treadle.tables.prepare.frame import is_blank
from treadle.tables.prepare.version_group import VersionGroup


@dataclass(slots=True)
class VersionOutcome:
    """The table's version after a load, and where its groups go.

    Attributes:
        version: the active version afterwards; None when there is still no table.
        swapped: the table is emptied for that version.
        live: groups whose rows go to the table.
        staged: version -> groups whose rows wait for its activation.
        ignored: groups of older versions, or emptied away by an activation of this load.
    """

    version: int | None
    swapped: bool = False
    live: list[VersionGroup] = field(default_factory=list)
    staged: dict[int, list[VersionGroup]] = field(default_factory=dict)
    ignored: list[VersionGroup] = field(default_factory=list)


def has_any_value(group: VersionGroup) -> bool:
    """Return whether a record holds a value that a table could be made for (loading.md 5.1)."""
    return (
        bool(group.keys)
        or len(group.frames) > 1
        or any(
            not is_blank(column)
            for each in group.frames[0].fields.values()
            for column in each.columns.values()
        )
    )


def resolve_versions(
    groups: Sequence[VersionGroup],
    activations: Sequence[int],
    table: Table | None,
    *,
    exists: bool,
    appending: bool,
) -> VersionOutcome:
    """Decide where each group goes.

    Args:
        groups: in order of their first record.
        activations: the n-th ends segment n.
        table: the catalogue entry.
        exists: the live table is there.
        appending: the destination or the option appends everything, and versions replace nothing.
    """
    active = table.version if table is not None and exists else None
    stages = {stage.version for stage in table.stages} if table is not None else set()
    if appending:
        versions = [group.version for group in groups if has_any_value(group)]
        if active is None and versions:
            active = versions[0]
        if active is not None:
            active = max(active, *activations, active)
        return VersionOutcome(active, live=list(groups) if active is not None else [])
    swapped = False
    placed: list[tuple[VersionGroup, int]] = []
    for segment in range(len(activations) + 1):
        for group in groups:
            if group.segment != segment:
                continue
            if active is None:
                if not has_any_value(group):
                    continue
                active = group.version
            placed.append((group, group.version or active))
        if segment < len(activations):
            version = activations[segment]
            if (active is None and version in stages) or (active is not None and version > active):
                active, swapped = version, True
    if active is None:
        return VersionOutcome(None)
    out = VersionOutcome(active, swapped)
    for group, version in placed:
        if version == active:
            out.live.append(group)
        elif version > active:
            out.staged.setdefault(version, []).append(group)
        else:
            out.ignored.append(group)
    return out
