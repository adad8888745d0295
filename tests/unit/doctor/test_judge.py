"""What measured values mean."""

import dataclasses
from collections.abc import Iterable

import pytest

from treadle.config import Config
from treadle.doctor import judge
from treadle.doctor.judge import Disk, File, Finding, LogFile, Machine, Mount
from treadle.tables.keys import KEY_TYPE_DIFFERS, KEYS_DIFFER

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=100k
31 22 0:31 / /srv/big\\040disk rw,relatime - xfs /dev/sdb rw,nobarrier
32 22 0:32 / /srv/share rw - nfs4 server:/x rw,vers=4.2
33 22 0:33 / /srv/share rw - ext4 /dev/sdc rw
nonsense
"""
MACHINE = Machine(cores=4, settings_file_mode=None)
NOW = 1_800_000_000_000_000


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def said(findings: Iterable[Finding], level: str) -> str:
    return " ".join(
        f"{one.found} {one.meaning} {one.remedy}" for one in findings if one.level == level
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/treadle", "ext4"),
        ("/run", "tmpfs"),
        ("/run/treadle", "tmpfs"),
        ("/running", "ext4"),
        ("/srv/big disk/data", "xfs"),
        ("/srv/share/data", "ext4"),  # the later mount hides the earlier one
    ],
)
def test_a_folder_is_on_the_nearest_mount(path: str, kind: str) -> None:
    assert judge.mount_of(path, MOUNTS).kind == kind


def test_where_the_system_does_not_say_nothing_is_said() -> None:
    assert judge.mount_of("/data", "") == Mount("")
    assert levels(judge.disk(Disk(Mount(""), (), 10**12, 0), Config())) == ["good"]


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("ext4", "good"),
        ("tmpfs", "bad"),
        ("nfs4", "bad"),
        ("fuse.sshfs", "bad"),
        ("overlay", "odd"),
    ],
)
def test_where_the_data_folder_is(kind: str, level: str) -> None:
    first = next(iter(judge.disk(Disk(Mount(kind), (500.0,), 10**12, 0), Config())))
    assert first.level == level
    assert kind in first.found
    assert (first.level == "good") == (first.remedy == "")


def test_a_mount_that_ignores_fsync_is_bad() -> None:
    mount = judge.mount_of("/srv/big disk/data", MOUNTS)
    assert "nobarrier" in said(judge.disk(Disk(mount, (500.0,), 10**12, 0), Config()), "bad")


@pytest.mark.parametrize(
    ("microseconds", "level"),
    [(3.0, "odd"), (20.0, "good"), (4_000.0, "good"), (80_000.0, "odd"), (2e6, "bad")],
)
def test_how_long_an_fsync_takes(microseconds: float, level: str) -> None:
    disk = Disk(Mount("ext4"), (microseconds,) * 9 + (microseconds * 10,), 10**12, 0)
    assert levels(judge.disk(disk, Config()))[1] == level


@pytest.mark.parametrize(
    ("free", "used", "expected"),
    [
        (500, 0, ["good"]),
        (199, 0, ["odd"]),
        (99, 0, ["bad"]),
        (500, 10**6, ["good", "bad"]),
    ],
)
def test_is_there_room(free: int, used: int, expected: list[str]) -> None:
    config = Config(disk_reserve_bytes=100, log_bytes=10**6, load_bytes=10**6)
    assert levels(judge.disk(Disk(Mount(""), (), free, used), config)) == expected


def test_the_clock() -> None:
    assert judge.clock(NOW, None).level == "good"
    assert judge.clock(NOW, NOW + 59_000_000).level == "good"
    assert judge.clock(NOW, NOW + 61_000_000).level == "bad"
    assert judge.clock(1_000_000, None).level == "bad"
    assert judge.other_clock("there", NOW, NOW - 59_000_000) is None
    off = judge.other_clock("there", NOW, NOW - 90_000_000)
    assert off is not None
    assert "-90 s" in off.found


def test_files_are_private_as_far_as_their_folder_is() -> None:
    folder = File("The data folder", "/data", 0o700, True, True, folder=True)
    open_ = File("The log", "/data/log", 0o644, True, True)
    assert levels(judge.files([folder, open_])) == ["good"]
    assert levels(judge.files([dataclasses.replace(folder, mode=0o755), open_])) == ["odd"]
    assert levels(judge.files([folder, dataclasses.replace(open_, usable=False)])) == ["bad"]
    assert levels(judge.files([folder, dataclasses.replace(open_, mine=False)])) == ["odd"]
    assert levels(judge.files([])) == []


def test_the_defaults_hold_no_surprise() -> None:
    assert levels(judge.settings(Config(), MACHINE)) == ["good"]


@pytest.mark.parametrize(
    ("config", "machine", "word"),
    [
        (Config(host="192.0.2.1"), MACHINE, "TLS"),
        (Config(port=0), MACHINE, "port"),
        (Config(workers=5), MACHINE, "5 on 4"),
        (Config(load_age_seconds=0), MACHINE, "load_age_seconds"),
        (Config(retention_days=0), MACHINE, "Receipts"),
        (Config(disk_reserve_bytes=0), MACHINE, "full"),
        (Config(log_bytes=1000), MACHINE, "load_bytes"),
        (Config(destination="postgresql://u:pass@h/d"), Machine(4, 0o644), "password"),
        (Config(secret_key="a" * 64), Machine(4, 0o644), "password"),
    ],
)
def test_odd_settings_are_named(config: Config, machine: Machine, word: str) -> None:
    found = list(judge.settings(config, machine))
    assert levels(found) == ["odd"]
    assert word in said(found, "odd")


def test_a_settings_file_without_a_secret_may_be_read() -> None:
    config = Config(destination="postgresql://u@h/d")
    assert levels(judge.settings(config, Machine(4, 0o644))) == ["good"]


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (judge.Key("key file", there=False), "good"),
        (judge.Key("key file", there=False, right=False), "bad"),
        (judge.Key("key file", there=True, fault="It is open to others."), "bad"),
        (judge.Key("key file", there=True, right=False), "bad"),
        (judge.Key("key file", there=True, right=True), "good"),
    ],
)
def test_the_key(found: judge.Key, level: str) -> None:
    assert judge.key(found).level == level


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (judge.StoreFile(there=False), "good"),
        (judge.StoreFile(True, None, "0002", "0002"), "good"),
        (judge.StoreFile(True, None, "0001", "0002"), "good"),
        (judge.StoreFile(True, None, "0003", "0002", newer=True), "bad"),
        (judge.StoreFile(True, "row 3 missing"), "bad"),
    ],
)
def test_the_store(found: judge.StoreFile, level: str) -> None:
    assert judge.store(found).level == level


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (LogFile(there=False), ["good"]),
        (LogFile(there=False, known=False), ["bad"]),
        (LogFile(there=True, trouble="malformed"), ["bad"]),
        (LogFile(True, None, True, 5, 0, 3, NOW - 1), ["good", "good"]),
        (LogFile(True, None, True, 5, 1, 0, None), ["bad", "good"]),
        (LogFile(True, None, False, None, None, 0, None), ["bad", "good"]),
        (LogFile(True, None, True, None, None, 3, NOW - 7_200_000_000), ["odd"]),
    ],
)
def test_the_log(found: LogFile, expected: list[str]) -> None:
    assert levels(judge.log(found, NOW)) == expected


def test_destinations_and_tables() -> None:
    good = judge.destination(judge.Reached("postgresql://h/d", ("web",), 3.0))
    assert (good.level, "web" in good.found) == ("good", True)
    assert judge.destination(judge.Reached("d", (), missing=True)).level == "good"
    refused = judge.destination(judge.Reached("d", (), fault="permission denied"))
    away = judge.destination(judge.Reached("d", (), fault="refused", passing=True))
    assert (refused.level, away.level) == ("bad", "bad")
    assert "by itself" in away.meaning
    asked = judge.destination(judge.Reached("d", (), fault="Is it running?", passing=True))
    assert (away.found, asked.found) == (
        "d cannot be used now: refused.",
        "d cannot be used now: Is it running?",
    )
    assert judge.table(judge.Stuck("web", "orders", "no", stopped=True)).level == "bad"
    for error, way_out in ((KEYS_DIFFER, "key_change=append"), (KEY_TYPE_DIFFERS, "Drop the")):
        assert way_out in judge.table(judge.Stuck("web", "orders", error, stopped=True)).remedy
    assert judge.table(judge.Stuck("web", "orders", "no", stopped=False)).level == "odd"


def test_one_bad_finding_is_enough() -> None:
    good, odd, bad = (Finding("disk", level, "x") for level in ("good", "odd", "bad"))
    assert judge.healthy([good, odd])
    assert not judge.healthy([good, bad, odd])
    assert judge.open_files(1024).level == "good"
    assert judge.open_files(1023).level == "odd"
