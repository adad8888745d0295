from treadle.destinations.conformance.upsert import *  # noqa: F403 - the suite
