"""Several logs as one: what is asked by source goes to its log, the rest is put together."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.log.joined import (
    JoinedAppender,
    JoinedReader,
    LastBacklogs,
    SourceNumbers,
    choose_reader,
    get_appender_id,
    join_spaces,
    list_present_backlogs,
    list_readers,
    make_source_check,
)
from treadle.log.protocol import (
    FIRST_LOG,
    IdempotencyKey,
    LogAppender,
    LogDirectory,
    LogEntry,
    NewEntry,
    TableBacklog,
    TrimPoint,
)
from treadle.log.quota import LogSpace
from treadle.log.registry import (
    InstallationDirectory,
    list_log_files,
    name_log_file,
    open_appender,
    open_file,
    open_folder,
    open_reader,
)
from treadle.store.model import StoredLog


class Folder:
    """The settings and the book of a folder with two logs; even sources are on log 0, odd on 1."""

    log_bytes = disk_reserve_bytes = 0
    is_shared = False

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "log.sqlite"
        self.asked: list[int] = []
        self.logs: list[StoredLog] = []
        for number in (0, 1):
            with closing(open_file(self, number)) as reader:
                self.logs.append(StoredLog(number, reader.log_id, "sqlite", "", "open"))

    def list_logs(self) -> list[StoredLog]:
        return self.logs

    def get_number(self, source_id: int) -> int:
        self.asked.append(source_id)
        return source_id % 2


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def reader(folder: Folder) -> Iterator[JoinedReader]:
    with closing(open_reader(folder, folder)) as reader:
        yield cast(JoinedReader, reader)


def entry(source: int, table: str = "orders") -> NewEntry:
    return NewEntry(source, table, 5, 1, b"[%d]" % source)


def append(folder: Folder, *sources: int) -> list[int]:
    async def run() -> list[int]:
        appender = open_appender(folder, folder)
        try:
            return [await appender.append([entry(source)]) for source in sources]
        finally:
            await appender.aclose()

    return asyncio.run(run())


def test_each_source_has_its_log(folder: Folder, reader: JoinedReader) -> None:
    assert append(folder, 2, 3, 4, 3, 3) == [1, 1, 2, 2, 3]
    assert sorted(folder.asked) == [2, 3, 4]  # each was asked for once
    found = {(one.source_id, one.last, one.entries) for one in reader.list_backlogs()}
    assert found == {(2, 1, 1), (4, 2, 1), (3, 3, 3)}
    assert sorted(reader.statistics.list_tables()) == [(2, "orders"), (3, "orders"), (4, "orders")]
    assert [one.position for one in reader.read(3, "orders", 1, 9, 99)] == [2, 3]
    for source, positions in ((2, [1, 2]), (3, [1, 2, 3])):
        kept = choose_reader(reader, source).find_entries(1, 9)
        assert [one.position for one in kept] == positions
        assert {one.source_id % 2 for one in kept if isinstance(one, LogEntry)} == {source % 2}
    assert reader.statistics.count_records_above(3, "orders", 1) == 2
    assert sum(one.records for one in reader.statistics.count_by_hour(3, "orders", 0)) == 3
    assert reader.sense_append()
    reader.mark_loaded(3, "orders", 3)
    assert {one.source_id for one in reader.list_backlogs()} == {2, 4}
    points = [TrimPoint(3, "orders", 2), TrimPoint(2, "orders", 1), TrimPoint(4, "orders", 1)]
    assert reader.trim(points) == 3
    assert {log: len(its.find_entries(1, 9)) for log, its in list_readers(reader).items()} == {
        0: 1,
        1: 1,
    }


def test_a_key_is_known_in_the_log_of_its_source(folder: Folder, reader: JoinedReader) -> None:
    once = IdempotencyKey(b"n" * 32, b"d" * 32)

    async def run() -> list[bool]:
        appender = open_appender(folder, folder)
        try:
            found = [await appender.append_once([entry(3)], once) for _ in range(2)]
        finally:
            await appender.aclose()
        return [one.duplicate for one in found]

    assert asyncio.run(run()) == [False, True]
    assert choose_reader(reader, 3).statistics.find_keys([once.name]) == {once.name: 1}
    assert choose_reader(reader, 2).statistics.find_keys([once.name]) == {}
    assert reader.statistics.forget_keys(10) == 1


def test_a_position_is_asked_of_one_log(reader: JoinedReader) -> None:
    for ask in (
        lambda: reader.log_id,
        lambda: reader.find_entries(1, 1),
        lambda: reader.get_anchor(1),
        lambda: reader.statistics.get_received_times([1]),
        lambda: reader.statistics.list_entries_below(None, 1),
        lambda: reader.statistics.find_keys([b""]),
    ):
        with pytest.raises(InternalError, match="chooses the log first"):
            ask()


def test_one_log_is_opened_as_it_is(folder: Folder) -> None:
    del folder.logs[1]
    with closing(open_reader(folder, folder)) as reader:
        assert not isinstance(reader, JoinedReader)
        assert choose_reader(reader, 3) is reader
        assert list_readers(reader) == {FIRST_LOG: reader}
    assert append(folder, 3, 2) == [1, 2]
    assert folder.asked == []


def test_a_log_that_is_not_open_here_takes_nothing(folder: Folder) -> None:
    async def run() -> None:
        del folder.logs[1]
        alone = open_appender(folder, folder)
        folder.logs.append(StoredLog(2, "another", "sqlite", "", "open"))
        several = open_appender(folder, folder)
        try:
            assert [make_source_check(alone)(3, number) for number in (0, 1)] == [True, False]
            is_open = make_source_check(several)
            assert [is_open(source, number) for source, number in ((7, 2), (9, 1))] == [True, False]
            assert isinstance(several, JoinedAppender)
            assert get_appender_id(several, 7) != get_appender_id(several, 2)
            with pytest.raises(RetriableError, match="log 1 is not open in this process"):
                await several.append([entry(9)])
        finally:
            await alone.aclose()
            await several.aclose()

    asyncio.run(run())


def test_a_log_that_is_added_is_opened_while_others_are_used(folder: Folder) -> None:
    [_, added], folder.logs[1:] = folder.logs, []
    folder.is_shared = True

    async def run() -> list[int]:
        appender = open_appender(folder, folder)
        reader = open_reader(folder, folder)
        assert isinstance(appender, JoinedAppender)
        assert isinstance(reader, JoinedReader)
        with closing(reader):
            try:
                found = [await appender.append([entry(2)])]
                with pytest.raises(RetriableError, match="log 1 is not open in this process"):
                    await appender.append([entry(3)])
                appender.open_missing()
                assert appender.is_complete
                folder.logs.append(added)
                appender.open_missing()
                assert appender.is_complete
                assert appender.log_ids == [one.log_id for one in folder.logs]
                found.append(await appender.append([entry(3)]))
            finally:
                await appender.aclose()
            assert [one.source_id for one in reader.list_backlogs()] == [2]
            assert len(choose_reader(reader, 3).find_entries(1, 1)) == 1
            assert {one.source_id for one in reader.list_backlogs()} == {2, 3}
        return found

    assert asyncio.run(run()) == [1, 1]


def test_a_log_that_is_away_is_known_to_be_missing_until_it_is_opened(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [_, added], folder.logs[1:] = folder.logs, []
    folder.is_shared = True

    async def run() -> int:
        appender = open_appender(folder, folder)
        assert isinstance(appender, JoinedAppender)
        assert appender._follow is not None
        assert not appender.is_complete  # nobody has looked
        folder.logs.append(added)

        def fail(number: int) -> LogAppender:
            raise RetriableError("away")

        try:
            with monkeypatch.context() as patched:
                patched.setattr(
                    type(appender._follow), "open_part", lambda self, number: fail(number)
                )
                appender.open_missing()
            assert not appender.is_complete
            appender.open_missing()
            assert appender.is_complete
            return await appender.append([entry(3)])
        finally:
            await appender.aclose()

    assert asyncio.run(run()) == 1


def test_nothing_of_a_closed_log_is_kept(folder: Folder) -> None:
    assert append(folder, 2, 3) == [1, 1]
    folder.logs[1] = replace(folder.logs[1], state="closed")
    with closing(open_reader(folder, folder)) as reader:
        assert isinstance(reader, JoinedReader)
        assert [one.source_id for one in reader.list_backlogs()] == [2]
        assert choose_reader(reader, 3).find_entries(1, 9) == []
        assert reader.find_log_id(3) == folder.logs[1].log_id
        assert reader.statistics.list_tables() == [(2, "orders")]
        assert reader.trim([TrimPoint(3, "orders", 1)]) == 0
    with pytest.raises(RetriableError, match="log 1 is not open"):
        append(folder, 3)


def test_what_a_log_that_is_away_has_is_left_out_by_the_loader(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="treadle.log")
    append(folder, 2, 3)
    with closing(open_reader(folder, folder)) as reader:
        readers = list_readers(reader)

        def fail(*_: object) -> list[TableBacklog]:
            raise RetriableError("away")

        with monkeypatch.context() as patched:
            patched.setattr(readers[1], "list_backlogs", fail)
            for _ in range(2):
                assert [one.source_id for one in list_present_backlogs(reader)] == [2]
        assert [one.source_id for one in list_present_backlogs(reader)] == [2, 3]
        assert [one.message for one in caplog.records] == [
            "log 1 is left out for now: away",
            "log 1 is read again",
        ]
        monkeypatch.setattr(readers[1], "list_backlogs", fail)
        with pytest.raises(RetriableError, match="away"):  # figures would be too small
            reader.list_backlogs()
        monkeypatch.setattr(readers[1], "trim", fail)
        reader.mark_loaded(2, "orders", 1)
        assert reader.trim([TrimPoint(2, "orders", 1), TrimPoint(3, "orders", 1)]) == 1
        monkeypatch.setattr(readers[0], "list_backlogs", fail)
        with pytest.raises(RetriableError, match="away"):
            list_present_backlogs(reader)
    with closing(open_file(folder, 0)) as alone:
        assert list_present_backlogs(alone) == []


def test_figures_have_what_a_log_said_last_while_it_is_away(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(folder, 2, 3)
    last = LastBacklogs()
    with closing(open_reader(folder, folder)) as reader:
        readers = list_readers(reader)
        assert [one.source_id for one in last.read(reader)] == [2, 3]
        assert list(last.away) == []

        def fail(*_: object) -> list[TableBacklog]:
            raise RetriableError("away")

        with monkeypatch.context() as patched:
            patched.setattr(readers[1], "list_backlogs", fail)
            reader.mark_loaded(2, "orders", 1)
            assert [one.source_id for one in last.read(reader)] == [3]
            assert list(last.away) == [1]
            patched.setattr(readers[0], "list_backlogs", fail)
            with pytest.raises(RetriableError, match="away"):
                last.read(reader)
        assert [one.source_id for one in last.read(reader)] == [3]
        assert list(last.away) == []
    with closing(open_file(folder, 0)) as alone:
        assert LastBacklogs().read(alone) == []


def test_a_directory_names_its_logs(folder: Folder) -> None:
    directory: LogDirectory = InstallationDirectory(folder, folder)
    assert [one.number for one in directory.list_logs()] == [0, 1]
    assert directory.find_log(3).log_id == folder.logs[1].log_id
    with closing(directory.open_reader(1)) as reader:
        assert reader.log_id == folder.logs[1].log_id
    with pytest.raises(OperatorError, match="there is no log 7"):
        directory.open_reader(7)
    folder.logs.append(StoredLog(2, "elsewhere", "postgresql", "postgresql://u:pw@h/d", "open"))
    assert "pw" not in repr(directory.list_logs())
    with pytest.raises(OperatorError, match="log of kind postgresql, which this treadle does not"):
        directory.open_reader(2)


def test_the_files_of_a_folder_are_known_without_a_store(folder: Folder, tmp_path: Path) -> None:
    for name in ("log-x.sqlite", "log-01.sqlite", "log.sqlite.damaged-1", "log-3.txt"):
        (tmp_path / name).touch()
    assert list_log_files(folder) == {number: name_log_file(folder, number) for number in (0, 1)}
    opened = open_folder(folder)
    assert [reader.log_id for reader in opened.values()] == [one.log_id for one in folder.logs]
    for reader in opened.values():
        reader.close()


def test_the_space_of_several_logs() -> None:
    spaces = [LogSpace(5, 100), LogSpace(7, 90), LogSpace(1, None)]
    assert join_spaces(spaces) == LogSpace(13, 90)
    assert join_spaces(spaces[2:]) == LogSpace(1, None)


def test_what_is_known_of_a_source_is_not_asked_again() -> None:
    asked: list[int] = []

    def ask(source_id: int) -> int:
        asked.append(source_id)
        return 4

    numbers = SourceNumbers(ask)
    numbers.note_number(1, 2)
    assert [numbers.get_number(source) for source in (1, 3, 3)] == [2, 4, 4]
    assert asked == [3]
