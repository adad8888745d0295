"""The whole examination, in the order in which one thing rests on another."""

from collections.abc import Callable, Iterator
from contextlib import closing

from treadle.clock import read_clock
from treadle.config import Config
from treadle.doctor import judge, probe
from treadle.doctor.judge import Finding
from treadle.errors import TreadleError
from treadle.lock import is_taken
from treadle.log.protocol import Reader
from treadle.log.salvage import Known, trouble
from treadle.store.secrets import load_key
from treadle.store.store import Store


def visit(
    config: Config, open_reader: Callable[[], Reader], *, whole: bool = True
) -> Iterator[Finding]:
    """Look at everything; a finding is given as soon as it is known.

    Args:
        config: of the server, whether it runs or not.
        open_reader: of its log, which is there when this is called.
        whole: read every entry of the log.
    """
    now = read_clock()
    yield _server(config)
    yield from judge.disk(probe.disk(config), config)
    yield from judge.files(probe.files(config))
    yield judge.open_files(probe.open_files())
    yield from judge.settings(config, probe.machine(config))
    kept, check, newest = probe.store(config)
    yield judge.clock(now, newest)
    yield judge.store(kept)
    key = judge.key(probe.key(config, check))
    yield key
    usable = kept.there and kept.damage is None and kept.form == kept.known and key.level == "good"
    if not usable:
        yield from _log(config, open_reader, None, now, whole=whole)
        if not kept.there:
            yield from probe.configured(config, now)
        return
    with closing(
        Store.open(config.store_url, load_key(config.key_path, config.secret_key))
    ) as store:
        yield from _log(config, open_reader, store.log_id(), now, whole=whole)
        yield from probe.destinations(config, store, now)


def _server(config: Config) -> Finding:
    try:
        taken = is_taken(config.lock_path)
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


def _log(
    config: Config, open_reader: Callable[[], Reader], log_id: str | None, now: int, *, whole: bool
) -> Iterator[Finding]:
    path = config.log_path
    if not (path.exists() and path.stat().st_size):
        yield from judge.log(judge.LogFile(there=False, known=False if log_id else None), now)
        return
    try:
        found = trouble(path, Known())
        if found is not None:
            yield from judge.log(judge.LogFile(there=True, trouble=found), now)
            return
        with closing(open_reader()) as reader:
            yield from judge.log(probe.reading(reader, log_id, whole=whole), now)
    except TreadleError as error:
        yield Finding(
            "log",
            "bad",
            f"The log cannot be read: {error}.",
            "A server cannot accept records.",
            "Do what the message says.",
        )
