"""SQL that is written once for all stores of a process, as in a server, which opens one."""

from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.util import LRUCache

STATEMENTS_MAX: Final = 5_000
_Place = tuple[str, str | None, int | None]


class CompiledStatements:
    """Lets engines of one database server share its dialect, and the SQL made of statements.

    SQLAlchemy keeps both by the engine. A test opens a store of its own, so half of its time went
    into writing the same SQL again.
    """

    def __init__(self) -> None:
        self._dialects: dict[_Place, Dialect] = {}
        self._statements: LRUCache[Any, Any] = LRUCache(STATEMENTS_MAX)

    def create_engine(self, url: URL, **options: Any) -> Engine:
        """Make an engine as SQLAlchemy does."""
        engine = create_engine(url, **options)
        place = (url.get_backend_name(), url.host, url.port)
        shared = self._dialects.setdefault(place, engine.dialect)
        if getattr(shared, "server_version_info", None) is None:  # it knows no server yet
            shared = self._dialects[place] = engine.dialect
        engine.dialect = shared
        engine._compiled_cache = self._statements
        return engine
