from treadle.destinations.conformance.sessions import *  # noqa: F403 - the suite
