from treadle.destinations.conformance.faults import *  # noqa: F403 - the suite
