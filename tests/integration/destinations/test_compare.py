from treadle.destinations.conformance.comparison import *  # noqa: F403 - the suite
