from treadle.destinations.conformance.schema_changes import *  # noqa: F403 - the suite
