"""The file of refusals: bounded, fair, whole after a crash."""

import os
from pathlib import Path

import pytest

from treadle.traces.refusal_file import (
    FILE_BYTES,
    KEPT_BYTES,
    KEPT_PLACES,
    RefusalFile,
    read_counts,
    read_refusals,
    read_refusals_after,
)
from treadle.traces.refusals import KeptRefusal, RefusalGroup, merge_counts

MINUTE = 60_000_000
NOW = 1_767_268_800_000_000


def refuse(
    at: int = NOW, account: int = 0, *, reason: str = "no", body: str = "said", token: int = 0
) -> KeptRefusal:
    group = RefusalGroup("push", 401, reason, account, 7 if account else 0, token)
    return KeptRefusal(at, group, "9f86d081", "192.0.2.7", 12, body)


def test_a_refusal_is_read_as_it_was_kept(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path / "refusals", "worker 2")
    file.add(refuse(account=3))
    [found] = read_refusals(tmp_path / "refusals")
    assert (found.id, found.at, found.body, found.address) == ("2-1", NOW, "said", "192.0.2.7")
    assert found.group == RefusalGroup("push", 401, "no", 3, 7)
    file.close()
    assert (tmp_path / "refusals" / "worker-2.refusals1").stat().st_size == FILE_BYTES < 2_000_000
    assert (tmp_path / "refusals" / "worker-2.refusals1").stat().st_mode & 0o777 == 0o600


def test_the_last_thousand_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    for number in range(1500):
        file.add(refuse(NOW + number, account=3))
    kept = read_refusals(tmp_path)
    assert [one.at - NOW for one in kept] == list(range(1499, 499, -1))
    [count] = read_counts(tmp_path, NOW)
    assert (count.total, count.minutes[-1], count.first, count.last) == (
        1500,
        1500,
        NOW,
        NOW + 1499,
    )
    assert count.latest is not None
    assert count.latest.id == "1-1500"
    file.close()


def test_strangers_cannot_push_out_what_an_account_has(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    for number in range(20):
        file.add(refuse(NOW + number, account=3, reason=f"reason {number}"))
    for number in range(5000):
        file.add(refuse(NOW + number, reason=f"made up {number}"))
    kept = read_refusals(tmp_path)
    assert sum(one.group.account_id == 3 for one in kept) == 20
    assert sum(one.group.account_id == 0 for one in kept) == 250
    counts = list(read_counts(tmp_path, NOW))
    assert sum(one.group.account_id == 3 for one in counts) == 20
    assert sum(one.group.account_id == 0 for one in counts) == 250
    file.close()


def test_minutes_of_an_hour(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    for minute, times in ((0, 2), (1, 1), (30, 3), (59, 1)):
        for _ in range(times):
            file.add(refuse(NOW + minute * MINUTE, account=1))
    [count] = read_counts(tmp_path, NOW + 59 * MINUTE)
    assert {at: times for at, times in enumerate(count.minutes) if times} == {
        0: 2,
        1: 1,
        30: 3,
        59: 1,
    }
    file.add(refuse(NOW + 61 * MINUTE, account=1))
    [count] = read_counts(tmp_path, NOW + 61 * MINUTE)
    assert {at: times for at, times in enumerate(count.minutes) if times} == {28: 3, 57: 1, 59: 1}
    assert count.total == 8
    file.add(refuse(NOW + 1000 * MINUTE, account=1))
    [count] = read_counts(tmp_path, NOW + 1000 * MINUTE)
    assert (sum(count.minutes), count.total) == (1, 9)
    file.close()


def test_a_worker_goes_on_after_its_death(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    for number in range(1200):
        file.add(refuse(NOW + number, account=1 + number % 2))
    # Without a close: the process was killed.
    again = RefusalFile(tmp_path, "worker 1")
    assert len(read_refusals(tmp_path)) == KEPT_PLACES
    again.add(refuse(NOW + 5000, account=1))
    kept = read_refusals(tmp_path)
    assert (kept[0].id, len(kept)) == ("1-1201", KEPT_PLACES)
    assert sum(one.total for one in read_counts(tmp_path, NOW)) == 1201
    again.close()
    file.close()


def test_a_torn_write_is_taken_for_empty(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    for number in range(3):
        file.add(refuse(NOW + number, account=1))
    file.close()
    path = tmp_path / "worker-1.refusals1"
    content = bytearray(path.read_bytes())
    torn = next(at for at in range(0, KEPT_PLACES * KEPT_BYTES, KEPT_BYTES) if content[at] == 2)
    content[torn + 40] ^= 1
    content[KEPT_PLACES * KEPT_BYTES + 10] ^= 1  # in the name of the group
    path.write_bytes(content)
    assert [one.id for one in read_refusals(tmp_path)] == ["1-3", "1-1"]
    assert list(read_counts(tmp_path, NOW)) == []
    again = RefusalFile(tmp_path, "worker 1")
    again.add(refuse(NOW + 9, account=1))
    assert [one.id for one in read_refusals(tmp_path)] == ["1-4", "1-3", "1-1"]
    again.close()
    path.write_bytes(b"short")
    assert read_refusals(tmp_path) == []


def test_any_answer_fits_into_a_place(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    group = RefusalGroup("validate", 599, "\U0001f600" * 100, 2**62, 2**62, 2**62)
    file.add(KeptRefusal(NOW, group, "9f86d081", "f" * 45, 2**63, "\x00" * 500))
    [found] = read_refusals(tmp_path)
    assert found.group == group
    [count] = read_counts(tmp_path, NOW)
    assert count.group == group
    file.close()


def test_a_refusal_is_given_to_the_account_whose_token_it_was(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, "worker 1")
    number = file.add(refuse())
    owned = RefusalGroup("push", 401, "no", 3, 7, 12)
    file.assign(number, owned)
    file.assign(number, RefusalGroup("push", 401, "no", 4, 8, 13))  # it is no stranger's any more
    file.assign(99, owned)
    [found] = read_refusals(tmp_path)
    assert (found.group, found.id) == (owned, "1-1")
    assert [(one.group, one.total) for one in read_counts(tmp_path, NOW)] == [(owned, 1)]
    file.close()


def test_what_is_new_since_the_last_look(tmp_path: Path) -> None:
    one, two = (RefusalFile(tmp_path, f"worker {number}") for number in (1, 2))
    one.add(refuse(NOW))
    seen: dict[str, int] = {}
    assert read_refusals_after(tmp_path, seen) == []
    two.add(refuse(NOW + 2))
    one.add(refuse(NOW + 1))
    assert [found.id for found in read_refusals_after(tmp_path, seen)] == ["1-2", "2-1"]
    assert read_refusals_after(tmp_path, seen) == []
    for file in (one, two):
        file.close()


def test_counts_of_workers_are_summed(tmp_path: Path) -> None:
    files = [RefusalFile(tmp_path, f"worker {number}") for number in (1, 2)]
    for file in files:
        file.add(refuse(account=1))
    [count] = merge_counts(read_counts(tmp_path, NOW))
    assert count.total == 2
    for file in files:
        file.close()


def test_without_room_on_the_disk_refusals_go_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    file = RefusalFile(tmp_path, "worker 1")
    file.add(refuse())
    assert read_refusals(tmp_path) == []
    file.close()
