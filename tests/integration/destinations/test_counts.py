from treadle.destinations.conformance.counts import *  # noqa: F403 - the suite
