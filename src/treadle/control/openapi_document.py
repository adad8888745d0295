"""The Connect API's part of the OpenAPI document: `connect_api.json`.

Its examples and types are those of connect-api.md 2 to 5; tests hold every answer against them.
"""

from treadle.control.settings import ConnectApiSettings
from treadle.http import openapi


def load_document(settings: ConnectApiSettings, *, has_ledger: bool) -> openapi.JsonObject:
    """Return an OpenAPI 3.1 document of the Connect API alone; a fresh value each time.

    Args:
        settings: what the examples look like.
        has_ledger: the server answers `/v1/ledger`.
    """
    found = openapi.load_document(
        "treadle.control", "connect_api.json", settings.era, settings.token_list
    )
    if not has_ledger:
        del found["paths"]["/v1/ledger"]
        for name in ("Hour", "Ledger", "Sums"):
            del found["components"]["schemas"][name]
    return found
