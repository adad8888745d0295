"""The whole examination, in the order in which one thing rests on another."""

from collections.abc import Callable, Iterator
from contextlib import closing

from treadle.clock import read_clock
from treadle.config import Config
from treadle.data_lock import is_lock_taken
from treadle.errors import TreadleError
from treadle.log.protocol import LogReader
from treadle.log.sqlite.recovery.salvage import KnownLog, find_damage
from treadle.maintenance.doctor import findings, measurements
from treadle.maintenance.doctor.findings import Finding
from treadle.store.secrets import load_cipher
from treadle.store.store import Store


def examine(
    config: Config, open_reader: Callable[[], LogReader], *, whole: bool = True
) -> Iterator[Finding]:
    """Look at everything; a finding is given as soon as it is known.

    Args:
        config: of the server, whether it runs or not.
        open_reader: of its log, which is there when this is called.
        whole: read every entry of the log.
    """
    now = read_clock()
    yield _examine_server(config)
    yield from findings.judge_disk(measurements.measure_disk(config), config)
    yield from findings.judge_files(measurements.measure_files(config))
    yield findings.judge_open_files(measurements.read_open_files_limit())
    yield from findings.judge_settings(config, measurements.measure_machine(config))
    kept, check, newest = measurements.measure_store(config)
    yield findings.judge_clock(now, newest)
    yield findings.judge_store(kept)
    key = findings.judge_key(measurements.measure_key(config, check))
    yield key
    usable = kept.exists and kept.damage is None and kept.form == kept.known and key.level == "good"
    if not usable:
        yield from _examine_log(config, open_reader, None, now, whole=whole)
        if not kept.exists:
            yield from measurements.examine_configured_destination(config, now)
        return
    with closing(
        Store.open(config.store_url, load_cipher(config.key_path, config.secret_key))
    ) as store:
        yield from _examine_log(config, open_reader, store.log_id(), now, whole=whole)
        yield from measurements.examine_destinations(config, store, now)


def _examine_server(config: Config) -> Finding:
    try:
        taken = is_lock_taken(config.lock_path)
    except OSError as error:
        return Finding(
            "server",
            "odd",
            f"Whether a server runs on {config.data} cannot be seen: {error.strerror}.",
            "This user may not open the lock file.",
            "Run this as the user that treadle runs as.",
        )
    says = "A server runs" if taken else "No server runs"
    return Finding("server", "good", f"{says} on {config.data}.")


def _examine_log(
    config: Config,
    open_reader: Callable[[], LogReader],
    log_id: str | None,
    now: int,
    *,
    whole: bool,
) -> Iterator[Finding]:
    path = config.log_path
    if not (path.exists() and path.stat().st_size):
        yield from findings.judge_log(
            findings.LogMeasurement(exists=False, known=False if log_id else None), now
        )
        return
    try:
        found = find_damage(path, KnownLog())
        if found is not None:
            yield from findings.judge_log(findings.LogMeasurement(exists=True, trouble=found), now)
            return
        with closing(open_reader()) as reader:
            yield from findings.judge_log(
                measurements.measure_log(reader, log_id, whole=whole), now
            )
    except TreadleError as error:
        yield Finding(
            "log",
            "bad",
            f"The log cannot be read: {error}.",
            "A server cannot accept records.",
            "Do what the message says.",
        )
