from treadle.destinations.conformance.planning import *  # noqa: F403 - the suite
