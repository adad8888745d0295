from treadle.destinations.conformance.values import *  # noqa: F403 - the suite
