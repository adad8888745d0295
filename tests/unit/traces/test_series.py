"""Figures over time: their form in the file, and how steps are joined."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from treadle.traces.series_file import FILE_BYTES, SeriesWriter, read_series
from treadle.traces.series_layout import (
    IDLE,
    LENGTHS,
    SERVER_FIGURES,
    SOURCE_FIGURES,
    STEP_BYTES,
    Figures,
    SeriesStep,
    combine_steps,
    decode_step,
    encode_step,
    merge_sources,
    select_busiest,
)

AT = 1_767_268_800  # the beginning of an hour
SHORT, MINUTE, HOUR = LENGTHS


def source(**changes: float | None) -> Figures:
    plain = dict(zip(SOURCE_FIGURES, IDLE, strict=True)) | changes
    return tuple(plain.values())


def server(**changes: float | None) -> Figures:
    plain: dict[str, float | None] = dict.fromkeys(SERVER_FIGURES, 0.0)
    return tuple((plain | changes).values())


def read(figures: Figures) -> dict[str, float | None]:
    return dict(zip(SERVER_FIGURES, figures, strict=False))


def test_a_step_is_read_as_it_was_written() -> None:
    figures = source(accepted=3, loaded=12_345, waiting=7e9, freshness_p50_seconds=0.91)
    step = SeriesStep(AT, server(accepted=5, log_bytes=2**30), {7: figures, 2**24 - 1: source()})
    written = encode_step(step)
    assert len(written) == STEP_BYTES
    found = decode_step(written, AT)
    assert found is not None
    assert found.server == step.server
    assert set(found.sources) == {7, 2**24 - 1}
    assert read(found.sources[7])["accepted"] == 3
    for known, exact in zip(found.sources[7], figures, strict=True):
        assert (known is None) == (exact is None)
        if known is not None and exact is not None:
            assert math.isclose(known, exact, rel_tol=5e-4, abs_tol=0.006)
    assert decode_step(written, AT, ()) == replace(found, sources={})


@pytest.mark.parametrize("value", [0, 1, 2, 7, 99, 100, 999, 123_456, 10**9])
def test_counts_come_back_within_a_twentieth_of_a_percent(value: int) -> None:
    found = decode_step(encode_step(SeriesStep(AT, server(), {1: source(accepted=value)})), AT)
    assert found is not None
    assert read(found.sources[1])["accepted"] == pytest.approx(value, rel=5e-4)


def test_a_torn_or_old_step_is_noticed() -> None:
    written = bytearray(encode_step(SeriesStep(AT, server(), {1: source(loaded=5)})))
    assert decode_step(bytes(written), AT + 10) is None
    for place in (0, 4, 9, 20, 67, 80):
        torn = bytearray(written)
        torn[place] ^= 1
        assert decode_step(bytes(torn), AT) is None, place
    assert decode_step(bytes(written[:-1]), AT) is None
    assert decode_step(bytes(STEP_BYTES), 0) is None


def test_counts_are_summed_and_ages_are_the_greatest() -> None:
    one = server(
        accepted=1,
        loaded=1,
        waiting=9,
        oldest_seconds=3,
        freshness_p50_seconds=1,
        freshness_p99_seconds=2,
        requests_2xx=4,
        log_bytes=10,
    )
    two = server(
        accepted=2,
        loaded=3,
        waiting=5,
        oldest_seconds=2,
        freshness_p50_seconds=5,
        freshness_p99_seconds=9,
        requests_2xx=1,
        log_bytes=8,
    )
    joined = combine_steps([SeriesStep(AT, one), SeriesStep(AT + 10, two)], AT)
    assert joined is not None
    found = read(joined.server)
    assert (found["accepted"], found["requests_2xx"]) == (3, 5)
    assert (found["waiting"], found["log_bytes"]) == (5, 8)
    assert (found["oldest_seconds"], found["freshness_p99_seconds"]) == (3, 9)
    assert found["freshness_p50_seconds"] == 4
    assert combine_steps([], AT) is None


def test_sources_of_steps_are_joined() -> None:
    first = SeriesStep(AT, server(), {1: source(accepted=1), 2: source(accepted=2, waiting=2)})
    joined = combine_steps([first, SeriesStep(AT + 10, server(), {1: source(accepted=4)})], AT)
    assert joined is not None
    assert read(joined.sources[1])["accepted"] == 5
    # It had nothing in the second step, so nothing of it waits.
    assert (read(joined.sources[2])["accepted"], read(joined.sources[2])["waiting"]) == (2, 0)


def test_an_account_is_the_sum_of_its_sources() -> None:
    merged = merge_sources([source(accepted=1, waiting=3), source(accepted=2, waiting=4)])
    assert (read(merged)["accepted"], read(merged)["waiting"]) == (3, 7)
    assert merge_sources([]) == IDLE


def test_the_busiest_sources_have_places() -> None:
    many = {key: source(accepted=key) for key in range(1, 200)} | {2**24: source(accepted=1e9)}
    chosen = select_busiest(many, {key: float(key) for key in many})
    assert sorted(chosen) == list(range(100, 200))
    step = SeriesStep(AT, server(), chosen)
    found = decode_step(encode_step(step), AT)
    assert found is not None
    assert found.is_full
    assert len(encode_step(step)) == STEP_BYTES


def test_the_file_has_every_length_and_a_fixed_size(tmp_path: Path) -> None:
    path = tmp_path / "series"
    assert read_series(path, SHORT, 0, AT) == []
    writer = SeriesWriter(path)
    for at in range(AT, AT + 7200, 10):
        writer.write(SeriesStep(at, server(accepted=1), {5: source(accepted=1)}))
    assert path.stat().st_size == FILE_BYTES < 8_000_000
    assert path.stat().st_mode & 0o777 == 0o600
    short = read_series(path, SHORT, 0, AT + 7200)
    assert [step.at for step in short] == list(range(AT + 3600, AT + 7200, 10))
    minutes = read_series(path, MINUTE, 0, AT + 7200)
    assert [step.at for step in minutes] == list(range(AT, AT + 7200, 60))
    assert {step.server[0] for step in minutes} == {6}
    hours = read_series(path, HOUR, 0, AT + 7200)
    assert [(step.at, step.server[0]) for step in hours] == [(AT, 360), (AT + 3600, 360)]
    assert hours[0].sources[5][0] == pytest.approx(360, rel=1e-3)
    assert read_series(path, SHORT, AT + 7000, AT + 7020, ()) == [
        SeriesStep(AT + 7000, server(accepted=1)),
        SeriesStep(AT + 7010, server(accepted=1)),
    ]
    writer.close()


def test_writing_goes_on_after_a_restart_and_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "series"
    for at in (AT, AT + 10, AT + 50, AT + 100_000):
        writer = SeriesWriter(path)
        writer.write(SeriesStep(at, server(loaded=2)))
        writer.close()
    minutes = read_series(path, MINUTE, AT, AT + 100_060)
    assert [step.at for step in minutes] == [AT + 99_960]
    [hour] = read_series(path, HOUR, AT, AT + 3600)
    assert hour.server[SERVER_FIGURES.index("loaded")] == 6


def test_a_file_of_another_form_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "series"
    path.write_bytes(b"something else" * 1000)
    assert read_series(path, SHORT, 0, AT) == []
    writer = SeriesWriter(path)
    writer.write(SeriesStep(AT, server()))
    writer.close()
    assert len(read_series(path, SHORT, 0, AT + 10)) == 1
