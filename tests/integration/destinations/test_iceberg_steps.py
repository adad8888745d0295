"""A load that does everything, ended or overtaken at each single step that it takes in a catalogue.

The library is imported where it is used: every process of a run collects this file.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.destinations.deaths import Death
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    BIGINT,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import PlanOutdatedError
from treadle.destinations.registry import make_destination
from treadle.tables.model import (
    AddColumn,
    CreateRelation,
    LoadPlan,
    Rejection,
    StagedVersion,
    WidenColumn,
)

STEPS = ("commit_table", "create_table", "drop_table")
STEPS_MAX = 10
"""More than a load takes here that finds nothing to undo."""

UNDOING_MAX = 14
"""More than one takes that undoes another one."""

PAIRS = [
    (one, other)
    for one in range(1, STEPS_MAX)
    for other in range(1, UNDOING_MAX)
    if (one + other) % 3 == 0
]
"""Steps of a load, and of one that finds something to undo."""

CHILD = {"_sdc_level_0_id": BIGINT, "_sdc_source_key_id": BIGINT}
KEY = ("_sdc_level_0_id", "_sdc_source_key_id")
COUNTS = relation("orders__counts", {**CHILD, "count": BIGINT}, KEY, ("counts",))
WIDE_COUNTS = replace(COUNTS, columns=(*COUNTS.columns[:-1], column("count")))
TAGS = relation("orders__tags", {**CHILD, "tag": TEXT}, KEY, ("tags",))
WIDE = replace(ORDERS, columns=(*ORDERS.columns, column("c")))
STAGED = relation("stage_ab12_200", {"id": BIGINT, "a": TEXT})
STAGE = StagedVersion(200, ORDERS.columns[4:5], (STAGED,), 0)
REJECTION = Rejection("{}", "why", "orders", 0, 0)


def rows_of(of: Any, name: str, values: list[tuple[Any, ...]]) -> Any:
    """Child rows as (parent id, sequence, value)."""
    made = rows(
        of,
        ("_sdc_source_key_id", "_sdc_sequence", name, "_sdc_level_0_id"),
        [(*value, 0) for value in values],
    )
    made.entries = ()
    return made


def begin(loads: TableLoads) -> LoadPlan:
    """A table with a subtable and a stage, of which nothing is there yet."""
    return loads.plan(
        table(ORDERS, COUNTS, tombstones=True, stages=(STAGE,)),
        upsert(
            [(1, 1, "x"), (2, 1, "y")],
            children=[rows_of(COUNTS, "count", [(1, 1, 10), (2, 1, 20)])],
        ),
        upsert([(5, 1, "s")], of=STAGED, private=True),
        changes=[
            CreateRelation(ORDERS),
            CreateRelation(COUNTS),
            CreateRelation(STAGED, private=True),
        ],
        rejections=[REJECTION],
    )


def go_on(loads: TableLoads) -> LoadPlan:
    """Everything that a load can do to what is there."""
    return loads.plan(
        table(WIDE, WIDE_COUNTS, TAGS, tombstones=True, stages=(STAGE,)),
        upsert(
            [(2, 2, "z", "c"), (3, 2, "n", "c")],
            ("id", "_sdc_sequence", "a", "c"),
            WIDE,
            children=[
                rows_of(WIDE_COUNTS, "count", [(2, 2, "many")]),
                rows_of(TAGS, "tag", [(3, 2, "t")]),
            ],
            stale=[WIDE_COUNTS, TAGS],
            deletes=rows(WIDE, ("id", "_sdc_sequence"), [(1, 9)]),
        ),
        upsert([(6, 1, "s")], of=STAGED, private=True),
        changes=[
            AddColumn("orders", column("c")),
            WidenColumn("orders__counts", column("count"), BIGINT),
            CreateRelation(TAGS),
        ],
        rejections=[REJECTION],
    )


Plan = Callable[[TableLoads], LoadPlan]


def read_begun(loads: TableLoads) -> list[Any]:
    return [
        loads.orders(),
        loads.read('SELECT _sdc_source_key_id, "count" FROM web.orders__counts ORDER BY 1'),
        loads.read(f"SELECT id FROM _treadle.{STAGED.name} ORDER BY id"),
        loads.read("SELECT count(*) FROM web._sdc_rejected"),
    ]


def read_done(loads: TableLoads) -> list[Any]:
    [[deleted]] = [
        loads.read(f'SELECT id, _sdc_sequence FROM _treadle."{name}"')
        for name in loads.session.relations("_treadle")
        if name.startswith("tombstones")
    ]
    tags = loads.read("SELECT _sdc_source_key_id, tag FROM web.orders__tags")
    return [*read_begun(loads), tags, deleted]


BEGUN = [[(1, "x", 1), (2, "y", 1)], [(1, 10), (2, 20)], [(5,)], [(1,)]]
DONE = [
    [(2, "z", 2), (3, "n", 2)],
    [(2, "many")],
    [(5,), (6,)],
    [(2,)],
    [(3, "t")],
    (1, 9),
]
CASES = [
    (go_on, read_done, DONE),
    (begin, read_begun, BEGUN),
]


class Steps:
    """Loaders on one catalogue; something happens before one of the steps of each."""

    def __init__(self, folder: Path, case: int) -> None:
        self.url = f"iceberg+sql://{folder / 'lake.db'}"
        self.plan, self._read, self._expected = CASES[case]
        self.position, self.revision = -1, 0
        if self.plan is go_on:
            loads = self.open()
            loads.run(begin(loads))
            self.position, self.revision = 0, 1
            loads.session.close()

    def open(self) -> TableLoads:
        """A loader that goes by what there was at first."""
        session = make_destination(self.url).open()
        session.prepare("web")
        loads = TableLoads(session, position=self.position, revision=self.revision)
        loads.batched_at += 5_000_000
        return loads

    def load(self, step: int = 0, happens: Callable[[], object] | None = None) -> int:
        """Load the plan; returns the number of steps that were taken.

        Raises:
            PlanOutdatedError: another loader was first.
        """
        loads = self.open()
        catalogue = loads.session._catalogue.catalogue  # type: ignore[attr-defined]
        taken = [0]

        def watch(name: str) -> None:
            do = getattr(catalogue, name)

            def take(*given: Any, **named: Any) -> Any:
                taken[0] += 1
                if taken[0] == step and happens is not None:
                    happens()
                return do(*given, **named)

            setattr(catalogue, name, take)

        for name in STEPS:
            watch(name)
        try:
            loads.run(self.plan(loads))
        finally:
            loads.session.close()
        return taken[0]

    def finish(self) -> None:
        """Load the plan if nobody has, and check that everything is there once."""
        loads = self.open()
        held = loads.session.committed(LOG).get((7, "orders"))
        if held is None or held.position == self.position:
            loads.session.state("web", "orders")
            loads.run(self.plan(loads))
        loads.position, loads.revision = self.position + 1, self.revision + 1
        loads.batched_at += 9_000_000
        assert self._read(loads) == self._expected
        loads.load(None)  # which would undo what seems to be of a dead load
        assert self._read(loads) == self._expected
        loads.session.close()


def die() -> None:
    raise Death


@pytest.mark.parametrize("case", [0, *some_at_release(1)])
@pytest.mark.parametrize("step", [4, *some_at_release(*(set(range(1, STEPS_MAX)) - {4}))])
def test_a_load_that_ends_before_a_step_is_done_again(tmp_path: Path, case: int, step: int) -> None:
    steps = Steps(tmp_path, case)
    with suppress(Death):
        assert steps.load(step, die) < step
    steps.finish()


@pytest.mark.parametrize("case", [0, *some_at_release(1)])
@pytest.mark.parametrize("step", [4, *some_at_release(*(set(range(1, STEPS_MAX)) - {4}))])
def test_a_load_that_is_overtaken_before_a_step_does_nothing(
    tmp_path: Path, case: int, step: int
) -> None:
    steps = Steps(tmp_path, case)
    done: list[str] = []

    def overtake() -> None:
        with suppress(PlanOutdatedError):
            steps.load()
            done.append("other")

    with suppress(PlanOutdatedError):
        steps.load(step, overtake)
        done.append("one")
    assert len(done) <= 1
    steps.finish()


@pytest.mark.release
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize(("step", "end"), PAIRS)
def test_of_a_load_that_is_overtaken_by_one_that_ends_nothing_is_left(
    tmp_path: Path, case: int, step: int, end: int
) -> None:
    steps = Steps(tmp_path, case)

    def overtake() -> None:
        with suppress(PlanOutdatedError, Death):
            steps.load(end, die)

    with suppress(PlanOutdatedError):
        steps.load(step, overtake)
    steps.finish()


@pytest.mark.release
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize(("end", "step"), PAIRS)
def test_of_a_load_that_ends_and_is_overtaken_when_it_is_undone_nothing_is_left(
    tmp_path: Path, case: int, step: int, end: int
) -> None:
    steps = Steps(tmp_path, case)
    with suppress(Death):
        steps.load(end, die)

    def overtake() -> None:
        with suppress(PlanOutdatedError):
            steps.load()

    with suppress(PlanOutdatedError):
        steps.load(step, overtake)
    steps.finish()
