from treadle.destinations.conformance.offsets import *  # noqa: F403 - the suite
