"""Whether a PostgreSQL server can keep what a log promises."""

from dataclasses import replace

import pytest

from treadle.log.postgres.installation import LogDurability, ServerState, judge_server

SOUND = ServerState(
    version=180_006,
    fsync=True,
    full_page_writes=True,
    synchronous_standby_names="ANY 1 (a, b)",
    data_checksums=True,
    standbys=2,
    sees_standbys=True,
    checks_clients=True,
)
ALONE = replace(SOUND, synchronous_standby_names="", standbys=0)


def test_nothing_is_wrong_with_a_sound_server() -> None:
    for found, durability in (
        (SOUND, LogDurability.REPLICATED),
        (ALONE, LogDurability.SINGLE),
        (ALONE, LogDurability.STORAGE),
    ):
        judged = judge_server(found, durability)
        assert (judged.refusals, judged.warnings) == ((), ())


@pytest.mark.parametrize(
    ("found", "durability", "refusal"),
    [
        (replace(SOUND, version=130_000), LogDurability.SINGLE, "PostgreSQL 14 or newer"),
        (replace(SOUND, fsync=False), LogDurability.STORAGE, "fsync is off"),
        (replace(SOUND, full_page_writes=False), LogDurability.SINGLE, "full_page_writes is off"),
        (ALONE, LogDurability.REPLICATED, "synchronous_standby_names is empty"),
    ],
)
def test_what_can_lose_records_is_refused(
    found: ServerState, durability: LogDurability, refusal: str
) -> None:
    [said] = judge_server(found, durability).refusals
    assert refusal in said


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (replace(SOUND, version=140_009), "15 or newer is recommended"),
        (replace(SOUND, standbys=0), "no synchronous standby is connected"),
        (replace(SOUND, standbys=0, sees_standbys=False), "GRANT pg_monitor"),
        (replace(SOUND, data_checksums=False), "data_checksums is off"),
        (replace(SOUND, checks_clients=False), "cannot notice that a client is gone"),
    ],
)
def test_what_an_operator_should_know_is_told(found: ServerState, warning: str) -> None:
    judged = judge_server(found, LogDurability.REPLICATED)
    assert judged.refusals == ()
    [said] = judged.warnings
    assert warning in said
