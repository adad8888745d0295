"""The heavy part of a load, independent of what the table holds (loading.md 1.2 steps 1 to 3).

`prepare` decodes the batches of one table, flattens and types their records by column, finds what
cannot be stored, and drops records that lose against another of the same load. What comes out waits
for `plan`, which knows the table.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple

from treadle.records import reading
from treadle.records.message import Batch
from treadle.records.shaped import Guess, Shape
from treadle.tables import instants, names
from treadle.tables.frame import Frame, Path, concatenate, take
from treadle.tables.model import ColumnType, Options, Rejection
from treadle.tables.names import Namer
from treadle.tables.packed import listed
from treadle.tables.profile import Profile
from treadle.tables.schema import compiled
from treadle.tables.typing import BY_VALUE, TRANSIT
from treadle.tables.walk import LeftOut, Setting, TooSparse, Walk
from treadle.tables.winners import winners

RECORD_BYTES_MAX = 64 * 1024
"""How much of a rejected record is kept (loading.md 8.1)."""

FIELDS_MAX = 10_000
"""Most different fields of one relation in a load where the destination names no limit.

As many as one record may have data points (import-api.md 5); they are held by column, so that more
of them over many records would need memory without bound.
"""

TOO_MANY_COLUMNS = "ERROR: too many columns"
"""Reason of loading.md 6.5 for all records of the load."""

WALKED_TOGETHER = 2048
"""Records flattened at a time: few enough to stay in the processor's cache meanwhile."""


class Arrival(NamedTuple):
    """One log entry: its batch, its position, and when it was received (microseconds)."""

    batch: Batch
    position: int
    received_at: int


class At(NamedTuple):
    """A record of a load: index of its entry, and its index in the entry."""

    entry: int
    record: int


class Key(NamedTuple):
    """A key column of some records: folded field, canonical name, logical types it came with."""

    folded: str
    name: str
    types: frozenset[ColumnType]


@dataclass(slots=True)
class Group:
    """Records of one table version between two activations, with one list of key names.

    Attributes:
        segment: how many activations of the load come before them.
        version: as sent, 0 for none.
        keys: by name; empty for a table with the generated key.
        frames: root first. Rejected records are not in them, nor records that lost.
        entries, indexes: of each root row: where it came from.
        sequences, received: of each root row; received in microseconds.
    """

    segment: int
    version: int
    keys: tuple[Key, ...]
    frames: list[Frame]
    entries: Sequence[int]
    indexes: Sequence[int]
    sequences: Sequence[int]
    received: Sequence[int]

    @property
    def size(self) -> int:
        """How many records."""
        return self.frames[0].size

    def key_values(self) -> Sequence[Any]:
        """Of each row what tells it from others: a value, or a tuple of them."""
        fields = self.frames[0].fields
        columns = [next(iter(fields[key.folded].columns.values())) for key in self.keys]
        return listed(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))

    def only(self, rows: Sequence[int]) -> "Group":
        """The same with some of its rows."""

        def pick(column: Sequence[int]) -> list[int]:
            return list(map(column.__getitem__, rows))

        return Group(
            self.segment,
            self.version,
            self.keys,
            take(self.frames, rows),
            pick(self.entries),
            pick(self.indexes),
            pick(self.sequences),
            pick(self.received),
        )


@dataclass(slots=True)
class Prepared:
    """What the records of one load come to, whatever the table holds.

    Attributes:
        schema: the destination schema.
        source_name: the table's name as sent.
        table_name: canonical.
        arrivals: the log entries.
        groups: in order of their first record that is not rejected.
        activations: versions, in order of arrival; the n-th ends segment n - 1.
        rejections: records that fit nowhere, in order of arrival; then fields left out.
        left_out: names of fields left out, for the report.
        duplicates: entry -> records that lost against another of their group.
        received: how many records there are.
        nul_removed: NUL characters removed.
        extracted_max: greatest time_extracted, else greatest received time.
        bookmark_names: as sent.
    """

    schema: str
    source_name: str
    table_name: str
    arrivals: Sequence[Arrival]
    profile: Profile
    options: Options
    groups: list[Group] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)
    rejections: tuple[Rejection, ...] = ()
    left_out: tuple[str, ...] = ()
    duplicates: dict[int, int] = field(default_factory=dict)
    received: int = 0
    nul_removed: int = 0
    extracted_max: int | None = None
    bookmark_names: tuple[str, ...] = ()
    _refused: Mapping[At, str] = field(default_factory=dict)

    def refusing(self, refused: Mapping[At, str]) -> "Prepared":
        """The same load with more records rejected, so that those they beat may win."""
        return prepare(
            self.arrivals,
            profile=self.profile,
            options=self.options,
            schema=self.schema,
            source_name=self.source_name,
            refused={**self._refused, **refused},
        )


def prepare(
    arrivals: Sequence[Arrival],
    *,
    profile: Profile,
    options: Options,
    schema: str,
    source_name: str | None = None,
    refused: Mapping[At, str] | None = None,
) -> Prepared:
    """Work out what the records of one load come to.

    Args:
        arrivals: the entries of one table, by position.
        profile: of the destination.
        options: of the table.
        schema: the destination schema.
        source_name: the table's name as sent; the first batch's when not given.
        refused: records to reject for a reason found elsewhere.
    """
    if source_name is None:
        source_name = arrivals[0].batch.table_name if arrivals else ""
    namer = Namer(profile, options)
    table_name, reason = namer.table(source_name)
    prepared = Prepared(schema, source_name, table_name, arrivals, profile, options)
    prepared._refused = dict(refused or {})
    prepared.received = sum(len(arrival.batch) for arrival in arrivals)
    prepared.activations = [v for a in arrivals for _, v in a.batch.activations]
    prepared.bookmark_names = tuple(
        dict.fromkeys(name for a in arrivals for name in a.batch.bookmark_names)
    )
    if reason is not None:
        everything = {
            At(entry, index): reason
            for entry, arrival in enumerate(arrivals)
            for index in range(len(arrival.batch))
        }
        prepared.rejections = _rejections(arrivals, everything, source_name)
        return prepared
    bad: dict[At, str] = dict(prepared._refused)
    left_out: dict[_Omitted, At] = {}
    found = [part.finish(prepared, bad, left_out) for part in _slices(prepared, namer)]
    groups = [each for each in found if each is not None]
    # A rejected record comes before nothing: the first one that stays tells which is first.
    prepared.groups = [group for _, group in sorted(groups, key=lambda each: each[0])]
    prepared.rejections = (
        *_rejections(arrivals, bad, table_name),
        *(
            Rejection(record_text(arrivals, at), left.reason, left.table_name, -1, -1)
            for left, at in sorted(left_out.items(), key=lambda item: item[1])
        ),
    )
    prepared.left_out = tuple(dict.fromkeys(left.name for left in left_out))
    prepared.extracted_max = _extracted_max(arrivals)
    return prepared


# --- slices: records that are walked together -----------------------------------------------------


class _Omitted(NamedTuple):
    """A field left out, logged once per load, table and name."""

    table_name: str
    name: str
    reason: str


class _Same(NamedTuple):
    """What the records of a slice share."""

    segment: int
    version: int
    keys: tuple[str, ...]
    form: str
    schema: bytes


class _Slice:
    """Records that share their typing, walked some at a time while they are in the cache."""

    def __init__(self, same: _Same, namer: Namer, prepared: Prepared) -> None:
        plain = TRANSIT if same.form == "transit" else BY_VALUE
        typing = compiled(same.schema).typing if same.form == "schema" else plain
        self._setting = Setting(
            namer, prepared.table_name, prepared.source_name, frozenset(same.keys), typing, plain
        )
        self._same = same
        self._namer = namer
        self._arrivals = prepared.arrivals
        self._exact = _exact(same.form, same.schema)
        # A method here would tie the slice into a cycle, and what it holds is let go of late.
        allowed = partial(_plain_keys, self._setting, same.form, keyed=bool(same.keys))
        self._guess = Guess(exact=self._exact, allowed=allowed)
        self._decoded: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._shape: Shape | None = None
        self._waiting: list[Any] = []
        self._pieces: list[list[Frame]] = []
        self._walked = 0
        self._fields: dict[Path, set[str]] = {}
        self._too_wide = False
        self._bad: dict[int, str] = {}
        self._left_out: list[tuple[int, LeftOut]] = []
        self._nul_removed = 0
        self._entries: list[int] = []
        self._indexes: list[int] = []
        self._sequences: list[int] = []
        self._received: list[int] = []
        self._extracted: list[str | None] = []

    def take_all(self, entry: int, arrival: Arrival) -> None:
        """All of an entry's records."""
        batch = arrival.batch
        found = self._guess.rows(batch)
        if found is not None:
            self.take(entry, arrival, found[1], range(len(batch)), found[0])
            return
        records = reading.read(batch, exact=self._exact) if len(batch) else []
        self._guess.learn(records)
        self.take(entry, arrival, records, range(len(batch)))

    def take(
        self,
        entry: int,
        arrival: Arrival,
        records: list[Any],
        indexes: Sequence[int],
        shape: Shape | None = None,
    ) -> None:
        """Some of an entry's records: dictionaries, or rows of a shape."""
        if shape is not self._shape and self._waiting:
            self._walk(self._waiting)
            self._waiting = []
        self._shape = shape
        batch = arrival.batch
        count = len(indexes)
        everything = count == len(records)
        before = len(self._entries)
        self._waiting += records if everything else map(records.__getitem__, indexes)
        self._entries += repeat(entry, count)
        self._indexes += indexes
        self._sequences += (
            batch.sequences if everything else map(batch.sequences.__getitem__, indexes)
        )
        self._received += repeat(arrival.received_at, count)
        if batch.extracted is not None:
            self._extracted += repeat(None, before - len(self._extracted))
            self._extracted += map(batch.extracted.__getitem__, indexes)
        while len(self._waiting) >= WALKED_TOGETHER:
            self._walk(self._waiting[:WALKED_TOGETHER])
            del self._waiting[:WALKED_TOGETHER]

    def _record(self, row: int) -> dict[str, Any]:
        """A record as a dictionary."""
        at = self._at(row)
        if self._decoded[0] != at.entry:
            batch = self._arrivals[at.entry].batch
            self._decoded = at.entry, reading.read(batch, exact=self._exact)
        return self._decoded[1][at.record]

    def _walk(self, records: list[Any]) -> None:
        if self._too_wide:
            return
        first = self._walked

        def original(row: int) -> dict[str, Any]:
            return self._record(first + row)

        shape = self._shape
        try:
            walk = Walk(self._setting, records, shape, original if shape else None).run()
        except TooSparse:
            half = len(records) // 2
            self._walk(records[:half])
            self._walk(records[half:])
            return
        self._pieces.append(walk.frames)
        fold, limit = self._namer.profile.fold, self._namer.profile.columns_max or FIELDS_MAX
        for frame in walk.frames:
            known = self._fields.setdefault(tuple(map(fold, frame.path)), set())
            known.update(frame.fields)
            self._too_wide = self._too_wide or len(known) > limit
        self._bad.update((self._walked + row, why) for row, why in walk.bad.items())
        self._left_out += ((self._walked, left) for left in walk.left_out)
        self._nul_removed += walk.nul_removed
        self._walked += len(records)

    def finish(
        self, prepared: Prepared, bad: dict[At, str], left_out: dict[_Omitted, At]
    ) -> tuple[At, Group] | None:
        """The group and where its first record stands; what is rejected, what is left out."""
        if self._waiting:
            self._walk(self._waiting)
            self._waiting = []
        if not self._pieces:
            return None
        profile = self._namer.profile
        if self._too_wide:
            everything = map(At, self._entries, self._indexes)
            bad.update((at, TOO_MANY_COLUMNS) for at in everything if at not in bad)
            return None
        # In one order, however the records were cut into pieces: parents before children.
        frames = sorted(
            concatenate(self._pieces, profile.fold),
            key=lambda frame: tuple(map(profile.fold, frame.path)),
        )
        self._pieces = []
        keys, incomplete = _keys(self._namer, self._same.keys, frames[0])
        for row in incomplete:
            self._bad.setdefault(row, incomplete[row])
        if prepared._refused:
            for row, at in enumerate(map(At, self._entries, self._indexes)):
                if at in prepared._refused:
                    self._bad.setdefault(row, prepared._refused[at])
        for row, why in self._bad.items():
            bad[self._at(row)] = why
        for base, left in self._left_out:
            first = next((base + r for r in left.rows if base + r not in self._bad), None)
            if first is not None:
                place = _Omitted(left.table_name, left.name, left.reason)
                left_out[place] = min(left_out.get(place, self._at(first)), self._at(first))
        prepared.nul_removed += self._nul_removed
        _put_extracted(frames[0], self._extracted, profile)
        group = Group(
            self._same.segment,
            self._same.version,
            keys,
            frames,
            self._entries,
            self._indexes,
            self._sequences,
            self._received,
        )
        if self._bad:
            group = group.only([row for row in range(group.size) if row not in self._bad])
            group.keys = _keys(self._namer, self._same.keys, group.frames[0])[0]
        if not group.size:
            return None
        begins = At(group.entries[0], group.indexes[0])
        if keys and all(len(key.types) == 1 for key in group.keys):
            group = without_losers(group, prepared.options, prepared.duplicates, ordered=True)
        return begins, group

    def _at(self, row: int) -> At:
        return At(self._entries[row], self._indexes[row])


def _plain_keys(setting: Setting, form: str, keys: Sequence[str], *, keyed: bool) -> bool:
    """Whether it makes no difference in which order a record has these keys."""
    namer = setting.namer
    if form == "transit" or namer.options.collisions == "hash":
        return False
    if len(setting.typing.shapes) > 1:  # which of them holds is asked of a whole record
        return False
    folded = {namer.field(None, key, not keyed).folded for key in keys}
    return len(folded) == len(keys)


def _slices(prepared: Prepared, namer: Namer) -> list[_Slice]:
    slices: dict[_Same, _Slice] = {}

    def slice_of(same: _Same) -> _Slice:
        part = slices.get(same)
        if part is None:
            part = slices[same] = _Slice(same, namer, prepared)
        return part

    segment = 0
    for entry, arrival in enumerate(prepared.arrivals):
        batch = arrival.batch
        keys = tuple(sorted(set(batch.key_names)))
        if isinstance(batch.versions, int) and not batch.activations:
            same = _Same(segment, batch.versions, keys, batch.form, batch.schema)
            slice_of(same).take_all(entry, arrival)
            continue
        exact = _exact(batch.form, batch.schema)
        records = reading.read(batch, exact=exact) if len(batch) else []
        versions = (
            [batch.versions] * len(records) if isinstance(batch.versions, int) else batch.versions
        )
        activations = [at for at, _ in batch.activations]
        parts: dict[_Same, list[int]] = {}
        passed = 0
        for index, version in enumerate(versions):
            while passed < len(activations) and activations[passed] <= index:
                passed += 1
            same = _Same(segment + passed, version, keys, batch.form, batch.schema)
            parts.setdefault(same, []).append(index)
        segment += len(activations)
        for same, indexes in parts.items():
            slice_of(same).take(entry, arrival, records, indexes)
    return list(slices.values())


def _exact(form: str, schema: bytes) -> bool:
    return form == "schema" and compiled(schema).exact


def without_losers(
    group: Group, options: Options, duplicates: dict[int, int], *, ordered: bool = False
) -> Group:
    """The rows that stay among those with one key; counts the others by entry.

    Args:
        group: with a key.
        options: of the table.
        duplicates: counted further.
        ordered: the rows stand in order of arrival.
    """
    order = None
    if not ordered:
        # Groups that are joined may share an entry, their records in turns.
        places = list(zip(group.entries, group.indexes, strict=True))
        if any(map(operator.gt, places, places[1:])):
            order = sorted(range(group.size), key=places.__getitem__)
    kept = winners(group.key_values(), group.sequences, options.sequence_tie, order)
    if kept is None:
        return group
    stay = set(kept)
    for row, entry in enumerate(group.entries):
        if row not in stay:
            duplicates[entry] = duplicates.get(entry, 0) + 1
    return group.only(kept)


def _keys(namer: Namer, sent: Sequence[str], root: Frame) -> tuple[tuple[Key, ...], dict[int, str]]:
    """Key columns by name; and rows without a value in one, with the reason."""
    keys = []
    incomplete: dict[int, str] = {}
    for literal in sent:
        name = namer.field(None, literal)
        known = root.fields.get(name.folded)
        types = frozenset(known.columns) if known is not None else frozenset()
        keys.append(Key(name.folded, name.full if known is None else known.name, types))
        missing: Sequence[int] = range(root.size)
        if known is not None:
            if len(types) == 1 and None not in next(iter(known.columns.values())):
                continue
            held = zip(*known.columns.values(), strict=True)
            missing = [row for row, v in enumerate(held) if v.count(None) == len(v)]
        for row in missing:
            incomplete.setdefault(row, f"Key field {name.full} holds no single value")
    return tuple(sorted(keys, key=lambda key: names.byte_order(key.name))), incomplete


def _put_extracted(root: Frame, texts: Sequence[str | None], profile: Profile) -> None:
    """`time_extracted` of the messages as `_sdc_extracted_at`, unless the record has its own."""
    if not texts:
        return
    column = [*map(_moment, texts), *repeat(None, root.size - len(texts))]
    folded = profile.fold(names.EXTRACTED_AT)
    own = root.fields.get(folded)
    if own is not None:
        held = list(zip(*own.columns.values(), strict=True))
        column = [
            v if own_values.count(None) == len(own_values) else None
            for v, own_values in zip(column, held, strict=True)
        ]
    if any(value is not None for value in column):
        root.put(folded, names.EXTRACTED_AT, ColumnType.TIMESTAMP, column)


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else instants.parse(text)
    except instants.OutOfRange:
        return None


def _extracted_max(arrivals: Sequence[Arrival]) -> int | None:
    times = [
        moment
        for arrival in arrivals
        for moment in map(_moment, arrival.batch.extracted or ())
        if moment is not None
    ]
    return max(chain(times or (arrival.received_at for arrival in arrivals)), default=None)


# --- rejections -----------------------------------------------------------------------------------


def _rejections(
    arrivals: Sequence[Arrival], bad: Mapping[At, str], table_name: str
) -> tuple[Rejection, ...]:
    by_entry: dict[int, list[int]] = {}
    for at in sorted(bad):
        by_entry.setdefault(at.entry, []).append(at.record)
    return tuple(
        Rejection(text, _storable(bad[At(entry, index)]), table_name, entry, index)
        for entry, indexes in by_entry.items()
        for index, text in zip(indexes, _texts(arrivals, entry, indexes), strict=True)
    )


def _texts(arrivals: Sequence[Arrival], entry: int, indexes: Sequence[int]) -> list[str]:
    return [_cut(text) for text in reading.texts(arrivals[entry].batch, indexes)]


def record_text(arrivals: Sequence[Arrival], at: At) -> str:
    """A record as `_sdc_rejected` keeps it."""
    return _texts(arrivals, at.entry, [at.record])[0]


def _cut(text: str) -> str:
    text = _storable(text)
    if len(text) * 4 <= RECORD_BYTES_MAX:
        return text
    return text.encode()[:RECORD_BYTES_MAX].decode("utf-8", "ignore")


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
