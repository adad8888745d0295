"""What measured values mean."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from treadle.config import Config, OperatorWarning
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.destinations.upkeep import CrowdedTable
from treadle.maintenance.doctor import findings
from treadle.maintenance.doctor.findings import (
    DAY_US,
    CertificateMeasurement,
    DiskMeasurement,
    DiskMount,
    FileRights,
    Finding,
    LogMeasurement,
    MachineFacts,
    MemberCondition,
)
from treadle.tables.plan.keys import KEY_TYPE_DIFFERS, KEYS_DIFFER

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=100k
31 22 0:31 / /srv/big\\040disk rw,relatime - xfs /dev/sdb rw,nobarrier
32 22 0:32 / /srv/share rw - nfs4 server:/x rw,vers=4.2
33 22 0:33 / /srv/share rw - ext4 /dev/sdc rw
nonsense
"""
MACHINE = MachineFacts(cores=4, root=False, address="127.0.0.1")
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
    assert findings.find_mount(path, MOUNTS).kind == kind


def test_where_the_system_does_not_say_nothing_is_said() -> None:
    assert findings.find_mount("/data", "") == DiskMount("")
    assert levels(findings.judge_disk(DiskMeasurement(DiskMount(""), (), 10**12, 0), Config())) == [
        "good"
    ]


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
    first = next(
        iter(findings.judge_disk(DiskMeasurement(DiskMount(kind), (500.0,), 10**12, 0), Config()))
    )
    assert first.level == level
    assert kind in first.found
    assert (first.level == "good") == (first.remedy == "")


def test_a_mount_that_ignores_fsync_is_bad() -> None:
    mount = findings.find_mount("/srv/big disk/data", MOUNTS)
    assert "nobarrier" in said(
        findings.judge_disk(DiskMeasurement(mount, (500.0,), 10**12, 0), Config()), "bad"
    )


@pytest.mark.parametrize(
    ("microseconds", "level"),
    [(3.0, "odd"), (20.0, "good"), (4_000.0, "good"), (80_000.0, "odd"), (2e6, "bad")],
)
def test_how_long_an_fsync_takes(microseconds: float, level: str) -> None:
    disk = DiskMeasurement(DiskMount("ext4"), (microseconds,) * 9 + (microseconds * 10,), 10**12, 0)
    assert levels(findings.judge_disk(disk, Config()))[1] == level


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
    assert (
        levels(findings.judge_disk(DiskMeasurement(DiskMount(""), (), free, used), config))
        == expected
    )


def test_the_clock() -> None:
    assert findings.judge_clock(NOW, None).level == "good"
    assert findings.judge_clock(NOW, NOW + 59_000_000).level == "good"
    assert findings.judge_clock(NOW, NOW + 61_000_000).level == "bad"
    assert findings.judge_clock(1_000_000, None).level == "bad"
    assert findings.judge_destination_clock("there", NOW, NOW - 59_000_000) is None
    off = findings.judge_destination_clock("there", NOW, NOW - 90_000_000)
    assert off is not None
    assert "-90 s" in off.found


def test_files_are_private_as_far_as_their_folder_is() -> None:
    folder = FileRights("The data folder", "/data", 0o700, True, True, folder=True)
    open_ = FileRights("The log", "/data/log", 0o644, True, True)
    assert levels(findings.judge_files([folder, open_])) == ["good"]
    both = findings.judge_files([dataclasses.replace(folder, mode=0o755), open_])
    assert levels(both) == ["odd", "odd"]
    written = findings.judge_files([dataclasses.replace(folder, mode=0o777)])
    assert levels(written) == ["bad"]
    readable = dataclasses.replace(folder, mode=0o750)
    writable = dataclasses.replace(open_, mode=0o666)
    assert levels(findings.judge_files([readable, writable])) == ["odd", "bad"]
    assert levels(findings.judge_files([folder, dataclasses.replace(open_, usable=False)])) == [
        "bad"
    ]
    assert levels(findings.judge_files([folder, dataclasses.replace(open_, own=False)])) == ["odd"]
    assert levels(findings.judge_files([])) == []


def test_the_defaults_hold_no_surprise() -> None:
    assert levels(findings.judge_settings(Config(), MACHINE)) == ["good"]


@pytest.mark.parametrize(
    ("config", "machine", "word"),
    [
        (
            Config(host="192.0.2.1", insecure_http=True),
            dataclasses.replace(MACHINE, address="192.0.2.1"),
            "TLS",
        ),
        (Config(), dataclasses.replace(MACHINE, root=True), "root"),
        (Config(trusted_proxies=("0.0.0.0/0",)), MACHINE, "every address"),
        (Config(port=0), MACHINE, "port"),
        (Config(workers=5), MACHINE, "5 on 4"),
        (Config(load_age_seconds=0), MACHINE, "load_age_seconds"),
        (Config(retention_days=0), MACHINE, "Receipts"),
        (Config(disk_reserve_bytes=0), MACHINE, "full"),
        (Config(log_bytes=1000), MACHINE, "load_bytes"),
    ],
)
def test_odd_settings_are_named(config: Config, machine: MachineFacts, word: str) -> None:
    found = list(findings.judge_settings(config, machine))
    assert levels(found) == ["odd"]
    assert word in said(found, "odd")


def test_warnings_about_the_settings_are_told() -> None:
    warning = OperatorWarning("A flag holds a secret.", "Others see it.", "Use a file.")
    [found] = findings.judge_settings(Config(), MACHINE, [warning])
    assert (found.level, found.found) == ("odd", "A flag holds a secret.")


@pytest.mark.parametrize(
    ("config", "address", "expected"),
    [
        (Config(host="0.0.0.0"), "0.0.0.0", "bad"),  # noqa: S104
        (Config(host="db.example.com"), "192.0.2.1", "bad"),
        (Config(host="db.example.com"), None, "bad"),
        (Config(host="db.example.com"), "127.0.1.1", "good"),
        (Config(host="0.0.0.0", tls_cert=Path("/c"), tls_key=Path("/k")), "0.0.0.0", "good"),  # noqa: S104
        (Config(host="unix:/run/t.sock"), None, "good"),
    ],
)
def test_an_address_that_others_reach_needs_tls(
    config: Config, address: str | None, expected: str
) -> None:
    machine = dataclasses.replace(MACHINE, address=address)
    assert levels(findings.judge_settings(config, machine)) == [expected]


@pytest.mark.parametrize(
    ("found", "level", "word"),
    [
        (CertificateMeasurement("The key is gone."), "bad", "gone"),
        (CertificateMeasurement(None, ("a.example.com",), NOW - 1), "bad", "expired"),
        (CertificateMeasurement(None, ("a", "b"), NOW + 3 * DAY_US), "odd", "a, b expires in 3 "),
        (CertificateMeasurement(None, ("a",), NOW + 30 * DAY_US), "good", "30 days"),
    ],
)
def test_the_certificate(found: CertificateMeasurement, level: str, word: str) -> None:
    judged = findings.judge_certificate(found, NOW)
    assert judged.level == level
    assert word in judged.found


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (findings.KeyMeasurement("key file", exists=False), "good"),
        (findings.KeyMeasurement("key file", exists=False, fits_store=False), "bad"),
        (findings.KeyMeasurement("key file", exists=True, fault="It is open to others."), "bad"),
        (findings.KeyMeasurement("key file", exists=True, fits_store=False), "bad"),
        (findings.KeyMeasurement("key file", exists=True, fits_store=True), "good"),
    ],
)
def test_the_key(found: findings.KeyMeasurement, level: str) -> None:
    assert findings.judge_key(found).level == level


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (findings.StoreMeasurement(exists=False), "good"),
        (findings.StoreMeasurement(True, None, "0002", "0002"), "good"),
        (findings.StoreMeasurement(True, None, "0001", "0002"), "good"),
        (findings.StoreMeasurement(True, None, "0003", "0002", newer=True), "bad"),
        (findings.StoreMeasurement(True, "row 3 missing"), "bad"),
    ],
)
def test_the_store(found: findings.StoreMeasurement, level: str) -> None:
    assert findings.judge_store(found).level == level


PLACE = "postgresql://db1,db2/treadle"


@pytest.mark.parametrize(
    ("found", "level", "told"),
    [
        ({"form": "0002"}, "good", f"The store in {PLACE} can be used."),
        ({"form": "0001"}, "good", "The store has the form 0001; the next start brings it to 0002"),
        ({"form": "0003"}, "good", f"The store in {PLACE} can be used."),  # it allows this release
        ({"form": "0003", "newer": True}, "bad", "The store has the form 0003"),
        ({"exists": False}, "bad", f"There is no store in {PLACE}."),
        ({"obstacle": "it is away"}, "bad", f"The store in {PLACE} cannot be asked: it is away."),
        ({"form": "0002", "weakness": "fsync is off"}, "bad", "weaker than store_durability asks"),
    ],
)
def test_a_store_on_a_server(found: dict[str, Any], level: str, told: str) -> None:
    measured = {"exists": True, "known": "0002", "server": PLACE, **found}
    judged = findings.judge_store(findings.StoreMeasurement(**measured))
    assert judged.level == level
    assert told in judged.found
    assert "backup" not in judged.remedy


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (None, []),
        (999_000, []),
        (-1_000_000, []),
        (3_600_000_000, ["-3600.0 s off that of the store's server"]),
        (-1_500_000, ["+1.5 s off that of the store's server"]),
    ],
)
def test_a_clock_that_is_off_the_stores_is_named(ahead: int | None, told: list[str]) -> None:
    judged = list(findings.judge_store_clock(ahead))
    assert len(judged) == len(told)
    for finding, text in zip(judged, told, strict=True):
        assert (finding.level, text in finding.found) == ("odd", True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (LogMeasurement(exists=False), ["good"]),
        (LogMeasurement(exists=False, known=False), ["bad"]),
        (LogMeasurement(exists=True, trouble="malformed"), ["bad"]),
        (LogMeasurement(True, None, True, 5, 0, 3, NOW - 1), ["good", "good"]),
        (LogMeasurement(True, None, True, 5, 1, 0, None), ["bad", "good"]),
        (LogMeasurement(True, None, False, None, None, 0, None), ["bad", "good"]),
        (LogMeasurement(True, None, True, None, None, 3, NOW - 7_200_000_000), ["odd"]),
    ],
)
def test_the_log(found: LogMeasurement, expected: list[str]) -> None:
    assert levels(findings.judge_log(found, NOW)) == expected


def test_destinations_and_tables() -> None:
    good = findings.judge_destination(RehearsalResult("postgresql://h/d", ("web",)))
    assert (good.level, "web" in good.found) == ("good", True)
    assert findings.judge_destination(RehearsalResult("d", (), missing=True)).level == "good"
    refused = findings.judge_destination(RehearsalResult("d", (), fault="permission denied"))
    away = findings.judge_destination(RehearsalResult("d", (), fault="refused", may_pass=True))
    assert (refused.level, away.level) == ("bad", "bad")
    assert "by itself" in away.meaning
    asked = findings.judge_destination(
        RehearsalResult("d", (), fault="Is it running?", may_pass=True)
    )
    assert (away.found, asked.found) == (
        "d cannot be used now: refused.",
        "d cannot be used now: Is it running?",
    )
    assert (
        findings.judge_table(findings.FailedTable("web", "orders", "no", stopped=True)).level
        == "bad"
    )
    ways = ((KEYS_DIFFER, "key_change=append"), (KEY_TYPE_DIFFERS, "key_types=reject"))
    for error, way_out in ways:
        assert (
            way_out
            in findings.judge_table(
                findings.FailedTable("web", "orders", error, stopped=True)
            ).remedy
        )
    assert (
        findings.judge_table(findings.FailedTable("web", "orders", "no", stopped=False)).level
        == "odd"
    )
    lacking = findings.judge_table(findings.FailedTable("web", "orders", "no", False, denied=True))
    assert lacking.level == "bad"
    assert "right" in lacking.remedy


@pytest.mark.parametrize(
    ("found", "smtp_url", "told"),
    [
        (findings.MailMeasurement(0), None, None),
        (findings.MailMeasurement(0), "smtp://relay", None),
        (findings.MailMeasurement(2), None, "odd: 2 recipients are stored, and nothing is sent"),
        (findings.MailMeasurement(2), "smtp://relay", "good: 2 recipients are told of problems."),
        (findings.MailMeasurement(2, 1), "smtp://relay", "good: 2 recipients are told of"),
        (
            findings.MailMeasurement(2, 1, 0, "Connection refused"),
            "smtp://relay",
            "odd: 1 mail waits and 0 were given up: Connection refused.",
        ),
        (
            findings.MailMeasurement(0, 0, 3, "550 no such user"),
            "smtp://relay",
            "odd: 0 mails wait and 3 were given up: 550 no such user.",
        ),
    ],
)
def test_mails(found: findings.MailMeasurement, smtp_url: str | None, told: str | None) -> None:
    judged = [f"{one.level}: {one.found}" for one in findings.judge_mails(found, smtp_url)]
    assert len(judged) == (told is not None)
    assert told is None or judged[0].startswith(told)


def test_a_hook_whose_deliveries_do_not_arrive_is_found() -> None:
    def judge(waiting: int, failed: int = 0, *, paused: bool = False) -> Finding | None:
        return findings.judge_hook(
            findings.HookCondition(7, waiting, failed, "it answered 500", paused=paused)
        )

    assert judge(9_999) is None
    given_up, many, paused = judge(0, 1), judge(10_000, 1), judge(10_000, paused=True)
    assert given_up is not None
    assert many is not None
    assert paused is not None
    assert (given_up.level, many.level) == ("odd", "bad")
    assert given_up.found == "A delivery of hook 7 was given up: it answered 500."
    assert "treadle hook send-again 7" in given_up.remedy
    assert paused.found == "10000 deliveries of hook 7 wait: it is paused."


def test_one_bad_finding_is_enough() -> None:
    good, odd, bad = (Finding("disk", level, "x") for level in ("good", "odd", "bad"))
    assert findings.is_healthy([good, odd])
    assert not findings.is_healthy([good, bad, odd])
    assert findings.judge_open_files(1024).level == "good"
    assert findings.judge_open_files(1023).level == "odd"


def test_a_folder_without_treadle_in_it_is_a_finding() -> None:
    assert findings.judge_folder("/data", exists=True, is_used=True) is None
    for exists, said in ((True, "no treadle data in /data"), (False, "no data folder /data")):
        found = findings.judge_folder("/data", exists=exists, is_used=False)
        assert found is not None
        assert found.level == "odd"
        assert said in found.found
        assert "--data" in found.remedy


def test_files_of_another_user_are_one_finding_that_names_the_user() -> None:
    folder = FileRights("The data folder", "/data", 0o700, False, False, True, "loader")
    others = [
        FileRights(name, f"/data/{name}", 0o600, False, False, False, "loader") for name in "ab"
    ]
    [found] = findings.judge_files([folder, *others])
    assert found.level == "bad"
    assert found.found == (
        "The data folder /data and 2 files in it cannot be read and written by this user."
    )
    assert found.meaning.startswith("They belong to loader.")
    assert "`sudo -u loader`" in found.remedy
    usable = [dataclasses.replace(one, usable=True) for one in (folder, *others)]
    [found] = findings.judge_files(usable)
    assert found.level == "odd"
    assert found.found == (
        "The data folder /data and 2 files in it belong to another user (loader)."
    )


def test_a_read_only_disk_is_one_finding_and_no_damage() -> None:
    unusable = FileRights("The log", "/data/log", 0o600, False, True, False, "loader")
    assert list(findings.judge_files([unusable], read_only=True)) == []
    measured = DiskMeasurement(DiskMount("ext4"), (), 10**12, 0, read_only=True)
    first, *_ = findings.judge_disk(measured, Config(data=Path("/data")))
    assert first.level == "bad"
    assert "/data is on a disk that is mounted read-only" in first.found
    store = findings.judge_store(
        findings.StoreMeasurement(exists=True, obstacle="its disk is mounted read-only")
    )
    assert store.level == "bad"
    assert "damaged" not in store.found
    assert "Do not restore a backup" in store.remedy


def test_sizes_are_written_for_people() -> None:
    measured = DiskMeasurement(DiskMount("ext4"), (), 28_384_321_536, 0)
    said = [one.found for one in findings.judge_disk(measured, Config())]
    assert "28 GB are free, disk_reserve_bytes keeps 100 MB of them." in said


def test_paused_sources_are_named() -> None:
    assert findings.judge_paused_sources([]) is None
    one = findings.judge_paused_sources(["web"])
    assert one is not None
    assert one.found == "The source web is paused."
    many = findings.judge_paused_sources([f"s{number}" for number in range(7)])
    assert many is not None
    assert many.found == "7 sources are paused: s0, s1, s2, s3, s4 and 2 more."


def test_rejections_of_the_last_day_are_summed_by_table() -> None:
    assert findings.judge_rejections([]).level == "good"
    count = findings.RejectionCount
    found = findings.judge_rejections([count("web", "a", 1), count("shop", "b", 1_999)])
    assert found.level == "odd"
    assert found.found == (
        "2,000 records were rejected in the last day: b of shop (1,999), a of web (1)."
    )
    assert "1 record was" in findings.judge_rejections([count("web", "a", 1)]).found


def test_readers_of_an_old_copy_are_told_of() -> None:
    fine = findings.judge_publication(findings.PublicationMeasurement("/bi.duckdb", 12.4, None))
    assert (fine.level, fine.found) == (
        "good",
        "The copy for readers /bi.duckdb has the rows of 12 s ago.",
    )
    old = findings.judge_publication(
        findings.PublicationMeasurement("/bi.duckdb", None, "the disk is full")
    )
    assert old.level == "odd"
    assert old.found == (
        "The copy for readers was not made yet. No newer one can be made: the disk is full."
    )


def describe_process(
    process: str,
    role: str,
    *,
    member: str = "m1",
    version: str = "1",
    beat_seconds: float = 0.5,
    is_live: bool = True,
) -> MemberCondition:
    release = version, "0030", 1
    return MemberCondition(member, process, role, release, beat_seconds, is_live)


EVERY_ROLE = [
    describe_process("worker 1", "ingest,control"),
    describe_process("loader 1", "loader", member="m2"),
]


@pytest.mark.parametrize(
    ("members", "levels", "said"),
    [
        ([], [], ""),
        (EVERY_ROLE, ["good"], "2 members with 2 processes share the work."),
        (EVERY_ROLE[:1], ["bad"], "No member runs with the role loader."),
        (EVERY_ROLE[1:], ["bad"], "No member runs with the role ingest or control."),
        (
            [*EVERY_ROLE, describe_process("worker 2", "ingest", is_live=False, beat_seconds=61.0)],
            ["odd"],
            "worker 2 of m1 (ingest) was lost 61 s ago.",
        ),
        # Another process has its place by now.
        (
            [*EVERY_ROLE, describe_process("worker 1", "ingest", is_live=False)],
            ["good"],
            "2 members",
        ),
        (
            [*EVERY_ROLE, describe_process("worker 2", "ingest", version="2")],
            ["odd"],
            "The members are of different releases of treadle (1, 2).",
        ),
        ([describe_process("worker 1", "ingest", is_live=False)], ["odd"], "worker 1 of m1"),
    ],
)
def test_members_are_judged_together(
    members: list[MemberCondition], levels: list[str], said: str
) -> None:
    judged = list(findings.judge_members(members))
    assert [one.level for one in judged] == levels
    assert not judged or judged[0].found.startswith(said)


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ((0, 64, 64), None),
        ((2, 64, 0), "good"),
        ((1, 64, 3), "bad"),
    ],
)
def test_each_part_of_the_tables_should_have_a_loader(
    counts: tuple[int, int, int], level: str | None
) -> None:
    found = findings.judge_loaders(*counts)
    assert (found.level if found else None) == level
    assert level != "bad" or (found and "3 of the 64 parts" in found.found)


def test_loads_that_have_a_price_are_not_to_be_hasty() -> None:
    lake = Capabilities(load_age_seconds=60.0, load_price=("makes files", "They are many"))
    assert findings.judge_load_age("lake", None, lake) is None
    assert findings.judge_load_age("lake", 1.0, Capabilities()) is None
    assert findings.judge_load_age("lake", 20.0, lake) is None
    found = findings.judge_load_age("lake", 1.0, lake)
    assert found is not None
    assert found.level == "odd"
    assert found.found == "load_age_seconds is 1, and each load into lake makes files."
    assert found.meaning == "They are many; 60 is usual here."


def test_crowded_tables_are_told() -> None:
    assert findings.judge_crowded("lake", []) is None
    found = findings.judge_crowded(
        "lake", [CrowdedTable("web.orders", 400), CrowdedTable("web.events", 100)]
    )
    assert found is not None
    assert found.found == "2 tables of lake with many small files; web.orders has 400."
