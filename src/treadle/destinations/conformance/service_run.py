"""Runs the suite over an empty database that is reached by a URL, and writes what it has shown.

Each test gets the database as it was: the schemas that a test made are removed after it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Final

import pytest

from treadle.destinations.capabilities import Capabilities
from treadle.destinations.conformance.known_traits import TRAITS
from treadle.destinations.conformance.spelled import spell_statements
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Destination
from treadle.destinations.service_proof import ServiceProof
from treadle.destinations.sql.session import SqlSession
from treadle.errors import OperatorError

MODULES: Final = (
    "offsets",
    "first_load",
    "upsert",
    "schema_changes",
    "values",
    "counts",
    "comparison",
    "planning",
    "sessions",
    "faults",
)
"""Of this package, with tests in them."""

FIXTURES: Final = "treadle.destinations.conformance.fixtures"


def choose_modules(capabilities: Capabilities) -> list[str]:
    """Return the modules of the suite that apply to a destination that is asked by SQL."""
    left_out = set() if capabilities.row_compare else {"comparison"}
    if not capabilities.evictable:
        left_out.add("sessions")
    return [module for module in MODULES if module not in left_out]


def find_obstacles(found: Sequence[str], fold: Callable[[str], str]) -> list[str]:
    """Return the schemas that a database must not have before the suite makes and removes them.

    Args:
        found: names of all schemas.
        fold: form in which the destination compares names.
    """
    made = {fold(name) for name in ("_treadle", "web", "other")}
    return [name for name in found if fold(name) in made]


@dataclass(slots=True)
class SuitePlugin:
    """A plug-in of pytest that gives the fixtures of the suite, and counts how tests end.

    Attributes:
        make: returns the destination, a new object each time.
        traits_of_kind: its traits.
        known: schemas that were there before.
        failed: the tests that failed, by name.
        left_out: tests that a further argument left out.
    """

    make: Callable[[], Destination]
    traits_of_kind: DestinationTraits
    known: Sequence[str]
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    left_out: int = 0

    @pytest.fixture
    def destination(self) -> Iterator[Destination]:
        """The database, empty before each test."""
        yield spell_statements(self.make(), self.traits_of_kind.spell)
        self.erase()

    @pytest.fixture
    def same_destination(self) -> Destination:
        """The same database, as another process has it."""
        return spell_statements(self.make(), self.traits_of_kind.spell)

    @pytest.fixture
    def traits(self) -> DestinationTraits:
        """The traits of its kind."""
        return self.traits_of_kind

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count the tests that are not run."""
        self.left_out += len(items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count how a test, or what comes before and after it, ended."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1

    def read_version(self) -> str:
        """Return what the database says of its version."""
        with self.make().open() as session:
            return str(session.query(self.traits_of_kind.version).rows[0][0])

    def erase(self) -> None:
        """Remove the schemas that a test made."""
        with self.make().open() as session:
            assert isinstance(session, SqlSession)
            for name in session.list_schemas():
                if name not in self.known:
                    session.query(self.traits_of_kind.erase.format(schema=session.quote(name)))


def not_by_url(kind: str) -> OperatorError:
    """Return the error about a kind of which a URL does not say enough."""
    return OperatorError(
        f"The suite cannot be run over {kind} by a URL alone; see "
        "docs/contributing/add-a-destination.md for the files that run it."
    )


def run_suite(make: Callable[[], Destination], words: Sequence[str] = ()) -> SuitePlugin:
    """Run the suite over an empty database.

    Args:
        make: returns the destination.
        words: further arguments of pytest.

    Raises:
        OperatorError: the kind has no traits here, or the database is not empty.
    """
    destination = make()
    traits = TRAITS.get(destination.kind)
    if traits is None or destination.capabilities.exclusive:
        raise not_by_url(destination.kind)
    with destination.open() as session:
        if not isinstance(session, SqlSession):
            raise not_by_url(destination.kind)
        known = session.list_schemas()
    if obstacles := find_obstacles(known, destination.profile.fold):
        raise OperatorError(
            f"The database is not empty: it has the schemas {', '.join(sorted(obstacles))}. The "
            "suite makes and removes schemas of these names; name a database without them."
        )
    plugin = SuitePlugin(make, traits, known)
    modules = choose_modules(destination.capabilities)
    paths = [import_path(module) for module in modules]
    pytest.main(
        ["-p", FIXTURES, "-p", "no:cacheprovider", "-q", "--noconftest", *words, *paths],
        plugins=[plugin],
    )
    return plugin


def import_path(module: str) -> str:
    """Return the file of a module of the suite."""
    found = import_module(f"{__package__}.{module}").__file__
    assert found is not None
    return found


def make_proof(plugin: SuitePlugin, type_: str, treadle: str, service: str, day: str) -> str | None:
    """Return the proof that a run gives, as JSON; None where not every test was run and passed."""
    if plugin.failed or plugin.left_out or not plugin.passed:
        return None
    proof = ServiceProof(type_, treadle, service, day, plugin.passed, plugin.skipped)
    return json.dumps(asdict(proof), indent=2) + "\n"
