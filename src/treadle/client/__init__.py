"""The Python client: pushes records to a treadle server, and follows what becomes of them.

    from treadle.client import TreadleClient

    with TreadleClient("https://treadle.example.com", token) as client:
        pushed = client.push("orders", [{"id": 1, "price": Decimal("1.50")}], key=["id"])
        print(client.wait_until_loaded(pushed).loaded)

`AsyncTreadleClient` is the same for asyncio. The names are imported when they are first used, so
that a part of this room can be used without HTTP.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.client.async_client import AsyncRecordWriter, AsyncTreadleClient
    from treadle.client.receipt_follower import PushOutcome
    from treadle.client.record_types import RecordValueError
    from treadle.client.request_sender import PushRefusedError
    from treadle.client.sync_client import RecordWriter, TreadleClient
    from treadle.client.table_push import PushReceipt
    from treadle.errors import OperatorError, RetriableError, TableStoppedError, TreadleError

__all__ = [
    "AsyncRecordWriter",
    "AsyncTreadleClient",
    "OperatorError",
    "PushOutcome",
    "PushReceipt",
    "PushRefusedError",
    "RecordValueError",
    "RecordWriter",
    "RetriableError",
    "TableStoppedError",
    "TreadleClient",
    "TreadleError",
]

_MODULES = {
    "AsyncRecordWriter": "client.async_client",
    "AsyncTreadleClient": "client.async_client",
    "OperatorError": "errors",
    "PushOutcome": "client.receipt_follower",
    "PushReceipt": "client.table_push",
    "PushRefusedError": "client.request_sender",
    "RecordValueError": "client.record_types",
    "RecordWriter": "client.sync_client",
    "RetriableError": "errors",
    "TableStoppedError": "errors",
    "TreadleClient": "client.sync_client",
    "TreadleError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"treadle.{_MODULES[name]}"), name)
