"""Questions to tables that are files, by DuckDB: read only, in bounded memory, nothing else."""

import duckdb

from treadle.destinations.asking import AnswerRows
from treadle.destinations.engine_asking import EngineAsking
from treadle.destinations.layout import BATCHED_AT, SEQUENCE
from treadle.destinations.scanned_engine import ScannedEngine, quote


class ScannedAsking(EngineAsking):
    """A session for one question; see `AskedSession`.

    Args:
        engine: with `engine_asking.ASKING_CONFIG`.
        seconds: after which a statement is ended.
    """

    def __init__(self, engine: ScannedEngine, seconds: float) -> None:
        super().__init__(seconds)
        self._engine = engine

    @property
    def _driver(self) -> duckdb.DuckDBPyConnection:
        return self._engine.driver

    def read_relation(self, schema: str, relation: str, limit: int) -> AnswerRows:
        """Return the newest rows of a table; see `AskedSession`."""
        statement = (
            f"SELECT * FROM {quote(schema, relation)}"  # noqa: S608 - quoted
            f" ORDER BY {quote(BATCHED_AT)} DESC NULLS LAST, {quote(SEQUENCE)} DESC NULLS LAST"
        )
        return self.read_statement(statement, limit, wraps=True)

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()
