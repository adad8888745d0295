"""A suite of tests for makers of destinations: what every back-end promises, as pytest tests.

The modules of this package hold the tests, one subject each: `offsets`, `first_load`, `upsert`,
`schema_changes`, `values`, `counts`, `comparison`, `planning` and `faults`. They need pytest, which
treadle itself does not install. To run them over a back-end of your own, write three files.

`conftest.py` says what is tested. Each test gets a destination that is fresh and empty:

    import pytest
    from treadle.destinations.conformance.traits import DestinationTraits
    from mine import MyDestination

    pytest_plugins = ["treadle.destinations.conformance.fixtures"]

    @pytest.fixture
    def destination(tmp_path):
        return MyDestination(tmp_path / "data")

    @pytest.fixture
    def same_destination(tmp_path):  # the same place, as another process has it
        return MyDestination(tmp_path / "data")

    @pytest.fixture
    def traits():
        return DestinationTraits(timestamp_microseconds="epoch_us({column})")

`pytest_configure` in the top conftest shows values when an assertion fails:

    pytest.register_assert_rewrite("treadle.destinations.conformance")

`test_upsert.py`, and one file like it for each module, takes the tests in:

    from treadle.destinations.conformance.upsert import *

A back-end whose `Capabilities` lack something leaves out the modules that need it: `comparison`
needs `row_compare`, `sessions` needs `evictable`, and all but `planning` read rows by `sql_query`.
One that only adds rows leaves out the tests that `append_only` names.
What else databases may
answer differently is data: see `DestinationTraits`.
"""
