"""The control API over a real SQLite store, with both surfaces."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings


@pytest.fixture
def make_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeApi]:
    """Settings -> a server with one account."""
    with ExitStack() as closing:

        def make(settings: ConnectApiSettings) -> Api:
            api = Api(tmp_path_factory.mktemp("store"), settings)
            closing.callback(api.store.close)
            return api

        yield make


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    """A server with the settings that are the default."""
    return make_api(ConnectApiSettings())


@pytest.fixture
def modern(make_api: MakeApi) -> Api:
    """A server that shows each token once."""
    return make_api(ConnectApiSettings(era="modern"))
