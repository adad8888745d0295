"""The control API over a real SQLite store."""

from tests.integration.control.fixtures import api, make_api, modern

__all__ = ["api", "make_api", "modern"]
