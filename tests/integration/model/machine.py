"""What may happen to a loader, in any order."""

from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.integration.model.tables import Record
from tests.integration.model.world import World

TABLES: dict[str, tuple[str, ...]] = {"t": ("id",), "u": (), "v": ("k", "n"), "w": ("_sdc_row",)}
VERSIONED = ("t", "u")

scalars = st.sampled_from([0, 1, 2**53 + 1, -1, 0.5, 2.0, True, False, "", "x", "yes", None])
small_lists = st.lists(scalars, max_size=2)
elements: st.SearchStrategy[Any] = st.one_of(
    scalars,
    small_lists,
    st.fixed_dictionaries({}, optional={"k": scalars, "m": small_lists, "o": st.just({})}),
)
objects = st.fixed_dictionaries(
    {}, optional={"p": scalars, "q": st.fixed_dictionaries({}, optional={"r": scalars})}
)
holders = st.fixed_dictionaries({}, optional={"p": scalars, "x": st.lists(elements, max_size=2)})
faults: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}] * 16
    + [{"v__st": 1}, {"big": 2**63}, {"n" * 60: 1}, {"o__p": 1}, {"o": {"e__BI": None}}]
    + [{"_sdc_sequence": 1}, {"_SDC_level_3_id": "x"}, {"_sdc_source_key_id": None}, {"_rjm_x": 1}]
    + [{"x": [{"_sdc_received_at": 1}]}, {"o": {"_sdc_sequence": 1}}]
)
fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "a": scalars,
        "b": scalars,
        "A": scalars,
        "_sdc_filename": scalars,
        "o": st.one_of(objects, holders, scalars, small_lists),
        "x": st.one_of(st.lists(elements, max_size=3), scalars),
    },
)
keys: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "t": st.fixed_dictionaries({"id": st.integers(1, 4)}),
    # A record without a key and without a value makes no table.
    "u": st.just({"z": 1}),
    "v": st.fixed_dictionaries({"k": st.sampled_from(["p", "P"]), "n": st.integers(1, 2)}),
    # Whichever type comes first is the key's; records of another one are rejected.
    "w": st.fixed_dictionaries({"_sdc_row": st.sampled_from([1, 2, 3, "1", "A-2", 2.0, True])}),
}
versions = st.sampled_from([0, 0, 0, 1, 2, 3])
SCHEMAS: tuple[dict[str, tuple[dict[str, Any], str]], ...] = (
    {},
    {"a": ({"type": ["null", "number"]}, "double")},
    {"a": ({"type": ["null", "integer"]}, "bigint"), "b": ({"type": ["null", "string"]}, "text")},
    {"b": ({"type": ["string", "null"], "format": "date-time"}, "timestamp")},
)
FITTING = {
    "double": st.sampled_from([0, 1, 1.5, None]),
    "bigint": st.sampled_from([0, 7, None]),
    "text": st.sampled_from(["", "x", None]),
    "timestamp": st.sampled_from(["2024-01-01T00:00:00Z", "1999-12-31T23:59:59Z", None]),
}


@st.composite
def records(draw: st.DrawFn, table: str) -> list[Record]:
    return [
        Record(
            draw(st.integers(1, 12)),
            {**draw(fields), **draw(faults), **draw(keys[table])},
            draw(versions) if table in VERSIONED else 0,
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


class Machine(RuleBasedStateMachine):
    """Pushes, batches, loads, deaths; the tables always equal the model."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        self.run = self.world.run()
        self.sent: list[tuple[str, Sequence[Record]]] = []

    @rule(data=st.data(), table=st.sampled_from(sorted(TABLES)))
    def push(self, data: st.DataObject, table: str) -> None:
        found = data.draw(records(table))
        self.sent.append((table, found))
        self.run.send(table, TABLES[table], found)

    @rule(data=st.data())
    def push_again(self, data: st.DataObject) -> None:
        if self.sent:
            table, found = data.draw(st.sampled_from(self.sent))
            some = data.draw(st.permutations(found))
            self.run.send(table, TABLES[table], some)

    @rule(data=st.data(), schema=st.sampled_from(SCHEMAS), version=versions)
    def batch(self, data: st.DataObject, schema: Any, version: int) -> None:
        table = data.draw(st.sampled_from(sorted(TABLES)))
        version = version if table in VERSIONED else 0
        self.run.send(
            table,
            TABLES[table],
            self._typed(data, table, schema, version),
            schema={name: spec for name, (spec, _) in schema.items()},
            version=version,
        )

    @rule(data=st.data(), schema=st.sampled_from(SCHEMAS), version=st.sampled_from([1, 2, 3, 4]))
    def activate(self, data: st.DataObject, schema: Any, version: int) -> None:
        self.run.load()
        rows = self._typed(data, "t", schema, version) if data.draw(st.booleans()) else []
        self.run.send(
            "t",
            TABLES["t"],
            rows,
            schema={name: spec for name, (spec, _) in schema.items()},
            version=version,
            activate=True,
        )
        self.run.load()

    @rule(at_once=st.sampled_from([100_000, 100_000, 100_000, 1, 4]))
    def load(self, at_once: int) -> None:
        self.run.load(at_once=at_once)

    @rule(restarts=st.booleans())
    def die_after_commit(self, restarts: bool) -> None:
        self.run.load(dies=True, restarts=restarts)

    @rule()
    def die_before_commit(self) -> None:
        self.run.rehearse()

    @rule()
    def restart(self) -> None:
        self.run.restart()

    def teardown(self) -> None:
        if hasattr(self, "run"):
            try:
                if self.run.sound:
                    self.run.load()
            finally:
                self.run.close()

    def _typed(self, data: st.DataObject, table: str, schema: Any, version: int) -> list[Record]:
        types = {name: kind for name, (_, kind) in schema.items()}
        found = []
        for record in data.draw(records(table)):
            typed = {name: data.draw(FITTING[kind]) for name, kind in types.items()}
            values = {**record.data, **typed}
            found.append(Record(record.sequence, values, version, types))
        return found
