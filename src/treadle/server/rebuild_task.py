"""The rebuild of a table from the log, as a task process of the desk does it."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from treadle.clock import read_clock
from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.http.address_policy import AddressPolicy
from treadle.log.joined import choose_reader
from treadle.log.protocol import LogReader, ReadLimits
from treadle.log.registry import open_reader
from treadle.maintenance.rebuild import (
    RebuildOutcome,
    RebuildProgress,
    TableRebuild,
    TimeWindow,
    name_rebuild_schema,
)
from treadle.server.child_channel import decode_orders
from treadle.server.factories import follow_store_clock, open_store
from treadle.store.operations import RebuildOrder
from treadle.store.store import Store

TELL_SECONDS: Final = 1.0
"""Least time between two notes how far a rebuild is."""


class RebuildTask(msgspec.Struct, frozen=True):
    """What a task process gets.

    Attributes:
        config: the settings, as `encode_orders` encodes them.
        operation_id: that the rebuild belongs to.
        holder: who claimed it.
        lasts: microseconds of its claim.
        order: which table, and how.
    """

    config: str
    operation_id: int
    holder: str
    lasts: int
    order: RebuildOrder


def rebuild_table(payload: bytes) -> bytes:
    """Build a table again, compare it, and swap it in where that is asked for.

    Args:
        payload: a `RebuildTask`.

    Returns:
        The result of the operation as JSON.
    """
    task = msgspec.json.decode(payload, type=RebuildTask)
    config = decode_orders(task.config)
    descriptor = take_lock(
        config.data / "replay.lock",
        0.0,
        taken=f"Another replay is at work in {config.data}; wait for its end.",
    )
    store = open_store(config)
    follow_store_clock(store)
    reader = open_reader(config, store.logs)
    try:
        replay = _make_rebuild(config, store, reader, task.order, _make_teller(store, task))
        order = task.order
        outcome = replay.carry_out(
            swaps=order.swaps, force=order.force, keeps=order.into is not None
        )
        return msgspec.json.encode(render_rebuild(replay.progress, outcome, order))
    finally:
        reader.close()
        store.close()
        os.close(descriptor)


def render_rebuild(
    built: RebuildProgress, outcome: RebuildOutcome, order: RebuildOrder
) -> dict[str, Any]:
    """Return the result of a rebuild as JSON. Pure."""
    return {
        "dry_run": order.dry_run,
        "built_in": order.into,
        "entries": built.entries,
        "records": built.records,
        "tables": [
            {
                "table": each.relation,
                "only_there": each.diff.only_here,
                "only_in_the_log": each.diff.only_there,
                "different": each.diff.different,
            }
            for each in outcome.found
        ],
        "differs": outcome.differs,
        "doubts": list(outcome.doubts),
        "swapped": outcome.swapped,
    }


def _make_rebuild(
    config: Config,
    store: Store,
    reader: LogReader,
    order: RebuildOrder,
    tell: Callable[[RebuildProgress], None],
) -> TableRebuild:
    source = store.sources.get_source(order.account_id, order.source_id)
    row = store.destinations.find_destination_of_source(order.source_id)
    if source is None or source.deleted_at is not None:
        raise OperatorError(f"The source {order.source_id} was deleted.")
    if row is None:
        raise OperatorError(f"The source {source.name} has no destination, so its records wait.")
    taken = {each.schema for each in store.sources.list_sources()}
    if order.into in taken:
        raise OperatorError(f"{order.into} is the schema of a source now; name another one.")
    policy = AddressPolicy(allows_loopback=config.destinations_local)
    return TableRebuild(
        store=store,
        reader=choose_reader(reader, source.id),
        destination=make_destination(row.url, policy.check if row.is_named_by_account else None),
        source=source,
        table_name=order.table,
        schema=order.into or name_rebuild_schema(source.schema, taken),
        window=TimeWindow(order.since, order.until),
        limits=ReadLimits.within_memory(config.load_rows, config.load_bytes),
        clock=read_clock,
        tell=tell,
    )


def _make_teller(store: Store, task: RebuildTask) -> Callable[[RebuildProgress], None]:
    told = 0.0

    def tell(built: RebuildProgress) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            store.operations.record_built(task.operation_id, task.holder, task.lasts, built.records)

    return tell
