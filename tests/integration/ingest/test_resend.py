"""Rejected records are sent again over a real log and store, and followed over a socket."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.servers.cases import rec
from tests.servers.loading import Warehouse

from treadle.errors import RetriableError
from treadle.log.protocol import (
    AppendResult,
    AppendUnknownError,
    AppendWaiter,
    IdempotencyKey,
    LogAppender,
    NewEntry,
)
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.edit import RecordEdit
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejects import (
    RecordGoneError,
    RejectedRecord,
    RejectFilter,
    RejectResender,
    find_resent_receipts,
    list_rejects,
)

BAD = 10**30


class Dying(LogAppender):
    """A log whose process dies once: before anything is written, or right after."""

    def __init__(self, inner: LogAppender, *, written: bool) -> None:
        self._inner = inner
        self._written = written

    @property
    def log_id(self) -> str:
        return self._inner.log_id

    async def append(self, entries: Sequence[NewEntry]) -> int:
        raise AssertionError("a record is sent again once")

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        if self._written:
            await self._inner.append_once(entries, once)
        raise KeyboardInterrupt

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        raise AssertionError("a record is sent again once")

    async def aclose(self) -> None:
        await self._inner.aclose()


Results = list[tuple[Receipt, bool]]


def resend(
    house: Warehouse,
    chosen: Sequence[RejectedRecord],
    edit: RecordEdit = RecordEdit(),  # noqa: B008 - frozen
    *,
    dies: bool | None = None,
) -> Results:
    """Send again in a process of its own, as far as the log can tell."""

    async def run() -> Results:
        path = house.folder / "log.sqlite"
        log: LogAppender = SqliteAppender(path)
        progress = LoadProgress(house.store, lambda: SqliteReader(path))
        try:
            used = log if dies is None else Dying(log, written=dies)
            resender = RejectResender(used, progress, lambda: 1_800_000_000_000_000)
            return [await resender.resend(reject, edit) for reject in chosen]
        finally:
            await progress.aclose()
            await log.aclose()

    return asyncio.run(run())


def rejected(house: Warehouse) -> list[RejectedRecord]:
    return list(list_rejects(house.store, RejectFilter()))


def receipts(house: Warehouse) -> ReceiptCodec:
    reader = SqliteReader(house.folder / "log.sqlite")
    try:
        return ReceiptCodec(house.store.installation_id, reader.log_id)
    finally:
        reader.close()


def again(house: Warehouse, *names: str) -> dict[str, str]:
    """Which of some rejects were sent again -> the receipts of that."""
    known = receipts(house)
    reader = SqliteReader(house.folder / "log.sqlite")
    try:
        return find_resent_receipts(reader.statistics.find_keys, known, house.source_id, names)
    finally:
        reader.close()


def push(house: Warehouse, *records: dict[str, Any]) -> Any:
    answer = house.post("/v2/import/push", list(records))
    assert answer.status == 201
    house.load()
    return answer


def test_an_edited_record_is_loaded_and_both_receipts_tell(house: Warehouse) -> None:
    pushed = push(house, rec(data={"id": 1, "n": 1}), rec(data={"id": 2, "n": BAD}))
    [reject] = rejected(house)
    assert (reject.index, reject.table_name) == (1, "customers")
    assert reject.reason.startswith("integer out of range for DuckDB on 1000")
    rows = house.rows("epoch_us(_sdc_rejected_at)", "_sdc_rejected")
    assert [(reject.rejected_at,)] == rows

    [(receipt, before)] = resend(house, [reject], RecordEdit(put={"n": b"7"}))
    assert not before
    text = receipts(house).encode(receipt)
    assert again(house, reject.id, "9.9") == {reject.id: text}
    [table] = house.fate(pushed)["tables"]
    assert table["rejected"] == [{"record": 1, "reason": reject.reason, "resent": text}]
    assert table["loaded"] == 1
    headers = {"Authorization": f"Bearer {house.token}"}
    assert house.send("GET", f"/v1/receipts/{text}", headers=headers).json()["status"] == "waiting"
    house.load()
    assert house.rows("id, n", "customers") == [(1, 1), (2, 7)]
    followed = house.send("GET", f"/v1/receipts/{text}", headers=headers).json()
    assert (followed["status"], followed["records"]) == ("loaded", 1)

    assert resend(house, [reject], RecordEdit(put={"n": b"8"})) == [(receipt, True)]
    house.load()
    assert house.rows("id, n", "customers") == [(1, 1), (2, 7)]


def test_a_newer_record_stays(house: Warehouse) -> None:
    push(house, rec(sequence=5, data={"id": 1, "n": BAD}))
    push(house, rec(sequence=6, data={"id": 1, "n": 6}))
    [reject] = rejected(house)
    resend(house, [reject], RecordEdit(put={"n": b"5"}))
    house.load()
    assert house.rows("n, _sdc_sequence", "customers") == [(6, 6)]


def test_a_record_that_is_rejected_again_is_a_new_reject(house: Warehouse) -> None:
    push(house, rec(data={"id": 1, "n": BAD}))
    [first] = rejected(house)
    resend(house, [first])
    house.load()
    second, _ = rejected(house)
    assert second.position > first.position
    resend(house, [second], RecordEdit(drop=frozenset(["n"]), put={"m": b"1"}))
    house.load()
    assert house.rows("id, m", "customers") == [(1, 1)]


@pytest.mark.parametrize("written", [False, True])
def test_a_crash_while_sending_neither_loses_nor_doubles(house: Warehouse, written: bool) -> None:
    """A table without a key would show a second row."""
    push(house, rec(key_names=[], table_name="events", data={"n": BAD}))
    [reject] = rejected(house)
    with pytest.raises(KeyboardInterrupt):
        resend(house, [reject], RecordEdit(put={"n": b"1"}), dies=written)
    # Another edit than the one that may be in the log already.
    results = resend(house, [reject], RecordEdit(put={"n": b"2"}))
    assert [before for _, before in results] == [written]
    house.load()
    assert house.rows("n", "events") == [(1 if written else 2,)]
    assert resend(house, [reject]) == [(results[0][0], True)]
    house.load()
    assert len(house.rows("n", "events")) == 1


def test_sent_by_several_at_once_it_is_stored_once(house: Warehouse) -> None:
    push(house, rec(key_names=[], table_name="events", data={"n": BAD}))
    [reject] = rejected(house)

    async def run() -> list[tuple[Receipt, bool]]:
        path = house.folder / "log.sqlite"
        logs = [SqliteAppender(path) for _ in range(2)]
        progress = LoadProgress(house.store, lambda: SqliteReader(path))
        try:
            resenders = [
                RejectResender(log, progress, lambda: 1_800_000_000_000_000) for log in logs
            ]
            edits = [RecordEdit(put={"n": b"%d" % n}) for n in range(6)]
            return await asyncio.gather(
                *[resenders[n % 2].resend(reject, edit) for n, edit in enumerate(edits)]
            )
        finally:
            await progress.aclose()
            for log in logs:
                await log.aclose()

    results = asyncio.run(run())
    assert sorted(before for _, before in results) == [False] + [True] * 5
    assert len({receipt for receipt, _ in results}) == 1
    house.load()
    assert len(house.rows("n", "events")) == 1


def test_many_are_sent_and_one_that_cannot_be_holds_up_no_other(house: Warehouse) -> None:
    push(house, *(rec(sequence=n, data={"id": n, "n": BAD}) for n in range(40)))
    chosen = rejected(house)

    async def run() -> Any:
        path = house.folder / "log.sqlite"
        log = SqliteAppender(path)
        progress = LoadProgress(house.store, lambda: SqliteReader(path))
        try:
            resender = RejectResender(log, progress, lambda: 1_800_000_000_000_000)
            gone = RejectedRecord(10**6, 0, house.source_id, "customers", "", 0)
            return await resender.resend_all([gone, *chosen], RecordEdit(put={"n": b"1"}))
        finally:
            await progress.aclose()
            await log.aclose()

    results = asyncio.run(run())
    faults = [result for result in results.values() if isinstance(result, Exception)]
    assert len(results) == 41
    assert [type(fault) for fault in faults] == [RecordGoneError]
    assert "no longer keeps the rejected record 1000000.0" in str(faults[0])
    house.load()
    assert house.rows("id", "customers") == [(n,) for n in range(40)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RetriableError("the disk is full"), "the disk is full"),
        (AppendUnknownError("it went away"), "not known: it went away"),
    ],
)
def test_a_log_that_takes_nothing_can_be_tried_again(
    house: Warehouse, error: Exception, told: str
) -> None:
    push(house, rec(data={"id": 1, "n": BAD}))
    [reject] = rejected(house)

    class Full(Dying):
        async def append_once(
            self, entries: Sequence[NewEntry], once: IdempotencyKey
        ) -> AppendResult:
            raise error

    async def run() -> None:
        path = house.folder / "log.sqlite"
        log = SqliteAppender(path)
        progress = LoadProgress(house.store, lambda: SqliteReader(path))
        try:
            full = Full(log, written=False)
            with pytest.raises(RetriableError, match=told):
                await RejectResender(full, progress, lambda: 1).resend(reject, RecordEdit())
        finally:
            await progress.aclose()
            await log.aclose()

    asyncio.run(run())
    resend(house, [reject], RecordEdit(put={"n": b"1"}))
    house.load()
    assert house.rows("id, n", "customers") == [(1, 1)]
