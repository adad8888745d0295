"""Holds the records of pushes, webhooks and bare records to the schemas of their tables.

A source without any schema pays nothing for this: `TokenOwner.has_schemas` is known with the token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from treadle.ingest.batch_endpoint import SHARED_BYTES_MAX
from treadle.ingest.body_executor import BodyExecutor
from treadle.ingest.client_watch import finish_unless_left
from treadle.ingest.token_cache import TokenCache
from treadle.records import table_schema
from treadle.records.field_check import refuse_records
from treadle.records.message_batch import MessageBatch
from treadle.records.table_schema import RecordFailure, TableSchemas
from treadle.records.validation.effort import EffortSpentError
from treadle.store.model import TokenOwner
from treadle.store.table_schemas import TableSchemaRepository
from treadle.tasks.task_process import TaskLimitError

RecordPlaces = Mapping[str, Sequence[int]]
"""Name of a table -> the index in the body of each of its records, in order."""


@dataclass(frozen=True, slots=True)
class TableSchemaCheck:
    """Checks and types records by the schemas of their tables.

    Attributes:
        token_cache: remembers the schemas of sources.
        executor: does what takes long where it delays nobody.
    """

    token_cache: TokenCache
    repository: TableSchemaRepository
    executor: BodyExecutor

    async def apply(
        self,
        request: Request,
        owner: TokenOwner,
        batches: list[MessageBatch],
        locate: Callable[[], RecordPlaces],
    ) -> list[MessageBatch]:
        """Return the batches of a request with the schemas of their tables.

        Args:
            request: its body was read.
            owner: who sends it.
            batches: in the order of the request.
            locate: finds the records in the body; called when some are refused.

        Raises:
            RecordsRefusedError: 422, some records do not fit.
            RequestRefusedError: 422, a schema cannot be used for these records.
            RetriableError: the schemas are not in memory and the store cannot be asked.
            ClientDisconnect: the sender has left.
        """
        if not owner.has_schemas:
            return batches
        schemas = await self.token_cache.get_cached(owner.source_id, self._list_documents)
        held = [batch for batch in batches if table_schema.applies_to(batch, schemas)]
        if not held:
            return batches
        failures = await self._find_failures(request, owner, batches, schemas)
        if failures:
            refuse_failures(failures, locate())
        return table_schema.add_schemas(batches, schemas)

    async def _find_failures(
        self,
        request: Request,
        owner: TokenOwner,
        batches: Sequence[MessageBatch],
        schemas: TableSchemas,
    ) -> list[RecordFailure]:
        """Check here what surely does not take long, and anything else in a task process."""
        size = sum(len(batch.data) for batch in batches)
        if size <= SHARED_BYTES_MAX:
            try:
                return await self.executor.run(
                    owner.source_id, size, table_schema.find_inline_failures, batches, schemas
                )
            except EffortSpentError:
                pass
        question = table_schema.encode_question(batches, schemas)
        try:
            encoded = await finish_unless_left(
                request.receive,
                self.executor.run_task(owner.source_id, table_schema.READER, question),
            )
        except TaskLimitError as error:
            raise table_schema.make_effort_refusal() from error
        return table_schema.decode_failures(encoded)

    def _list_documents(self, source_id: int) -> dict[str, bytes]:
        found = self.repository.list_schemas(source_id)
        return {schema.table_name: schema.document for schema in found}


def refuse_failures(failures: Sequence[RecordFailure], places: RecordPlaces) -> None:
    """Refuse records that do not fit the schemas of their tables, in the words of a push.

    Raises:
        RecordsRefusedError: 422, always.
    """
    wrong: list[tuple[int, dict[str, Any]]] = sorted(
        ((places[one.table_name][one.place], {"data": one.lines}) for one in failures),
        key=lambda found: found[0],
    )
    refuse_records([reason for _, reason in wrong], [index for index, _ in wrong])
