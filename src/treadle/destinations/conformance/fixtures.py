"""The fixtures of the suite; its user gives `destination`, `same_destination` and `traits`."""

from collections.abc import Iterator

import pytest

from treadle.destinations.conformance.builders import TableLoads
from treadle.destinations.protocol import Destination, Session


@pytest.fixture
def session(destination: Destination) -> Iterator[Session]:
    """A session on a fresh destination, with the schema `web` prepared."""
    with destination.open() as opened:
        opened.prepare("web")
        yield opened


@pytest.fixture
def loads(session: Session) -> TableLoads:
    """Loads of the table `orders` in the schema `web`, one after the other."""
    return TableLoads(session)
