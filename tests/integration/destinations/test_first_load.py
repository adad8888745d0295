from treadle.destinations.conformance.first_load import *  # noqa: F403 - the suite
