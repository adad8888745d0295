"""Examinations as a task process of the desk runs them: the doctor's checks, the audit of counts.

While one goes on, it notes how far it is, for whoever looks.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from treadle.clock import read_clock
from treadle.config import Config
from treadle.counting import count_noun
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.errors import TreadleError
from treadle.http.address_policy import AddressPolicy
from treadle.http.responses import encode_json
from treadle.log.registry import find_damage, open_file, open_reader
from treadle.log.salvage_report import KnownLog
from treadle.maintenance.audit.differences import TableEvidence, find_differences
from treadle.maintenance.audit.evidence import gather_evidence
from treadle.maintenance.doctor.checks import CHECKS, examine
from treadle.maintenance.doctor.findings import Finding, render_findings
from treadle.questions.orders import AnswerNote, TaskOrder, decode_value, encode_value
from treadle.server.child_channel import decode_orders
from treadle.server.factories import open_store, take_store_clock
from treadle.store.store import Store
from treadle.text import make_storable
from treadle.traces.examination import (
    ExaminationKind,
    ExaminationNote,
    ExaminedFinding,
    write_examination,
)

NOTE_SECONDS: Final = 0.5
"""Least time between two notes how far an examination is."""

FINDINGS_MAX: Final = 500
"""Findings that are noted, the worst first."""

LEVELS: Final = ("bad", "odd", "good")


@dataclass(slots=True)
class ExaminationRun:
    """An examination that goes on, and the file that tells how far it is.

    Attributes:
        folder: of the file.
        note: as it was written last.
        clock: microseconds since 1970.
        monotonic: seconds.
    """

    folder: Path
    note: ExaminationNote
    clock: Callable[[], int] = read_clock
    monotonic: Callable[[], float] = time.monotonic
    _found: list[Finding] = field(default_factory=list)
    _written_at: float = 0.0

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        self._found.append(finding)

    def tell(self, **progress: Any) -> None:
        """Tell how far it is, if that was not told a moment ago."""
        self.note = msgspec.structs.replace(self.note, **progress)
        if self.monotonic() - self._written_at >= NOTE_SECONDS:
            self._write()

    def finish(self) -> Sequence[Finding]:
        """Tell that it is done, and return what was found."""
        self.note = msgspec.structs.replace(
            self.note, finished_at=self.clock(), step="", done=self.note.total
        )
        self._write()
        return self._found

    def _write(self) -> None:
        self._written_at = self.monotonic()
        shown = sorted(self._found, key=lambda one: LEVELS.index(one.level))[:FINDINGS_MAX]
        findings = tuple(
            ExaminedFinding(
                make_storable(one.subject),
                one.level,
                make_storable(one.found),
                make_storable(one.meaning),
                make_storable(one.remedy),
            )
            for one in shown
        )
        self.note = msgspec.structs.replace(self.note, changed_at=self.clock(), findings=findings)
        with suppress(OSError):  # a full disk is found all the same
            write_examination(self.folder, self.note)


def begin_run(config: Config, kind: ExaminationKind, *, whole: bool, total: int) -> ExaminationRun:
    """Begin an examination, and tell that it goes on."""
    if config.store is not None:  # those who read of it go by the store's clock, too
        with suppress(TreadleError), closing(open_store(config, actor=None)) as store:
            take_store_clock(store)
    now = read_clock()
    run = ExaminationRun(
        config.examinations_path, ExaminationNote(kind, whole, now, now, total=total)
    )
    run.tell()
    return run


def examine_installation(payload: bytes) -> bytes:
    """Run the quick checks, and write the findings as the command prints them in JSON.

    Args:
        payload: a `TaskOrder` with the settings of the server.

    Returns:
        An `AnswerNote`.
    """
    return _examine(payload, whole=False)


def examine_whole(payload: bytes) -> bytes:
    """Do as `examine_installation`, and read every entry of the log."""
    return _examine(payload, whole=True)


def _examine(payload: bytes, *, whole: bool) -> bytes:
    task = decode_value(payload, TaskOrder)
    config = decode_orders(task.order)
    began = time.monotonic()
    run = begin_run(config, ExaminationKind.DOCTOR, whole=whole, total=len(CHECKS))
    names = [check.name for check in CHECKS]
    for finding in examine(
        config,
        partial(open_file, config),
        partial(find_damage, config, KnownLog()),
        whole=whole,
        check_address=AddressPolicy(allows_loopback=config.destinations_local).check,
        report_check=lambda name: run.tell(step=name, done=names.index(name)),
        report_entries=lambda entries: run.tell(entries=entries),
    ):
        run.add(finding)
    found = run.finish()
    task.path.write_bytes(encode_json(render_findings(found)))
    return encode_value(AnswerNote(len(found), False, (time.monotonic() - began) * 1000))


def audit_counts(payload: bytes) -> bytes:
    """Compare the rows of destinations with the loads, as `treadle audit --counts` does.

    Args:
        payload: a `TaskOrder` with the settings of the server.

    Returns:
        An `AnswerNote`.
    """
    task = decode_value(payload, TaskOrder)
    config = decode_orders(task.order)
    began = time.monotonic()
    with (
        closing(open_store(config, actor=None)) as store,
        closing(open_reader(config, store.logs)) as reader,
    ):
        sources = [one for one in store.sources.list_sources() if one.deleted_at is None]
        run = begin_run(config, ExaminationKind.COUNTS, whole=False, total=0)
        evidence = gather_evidence(
            store, reader, _make_opener(config, store), sources, keys=False, now=read_clock()
        )
        for done, finding in enumerate(map(judge_counts, evidence), 1):
            run.add(finding)
            run.tell(step=finding.subject, done=done)
    found = run.finish()
    task.path.write_bytes(encode_json(render_findings(found)))
    return encode_value(AnswerNote(len(found), False, (time.monotonic() - began) * 1000))


def _make_opener(config: Config, store: Store) -> Callable[[str], Destination]:
    """Return what makes the destination of a URL; addresses that an account named are checked."""
    check = AddressPolicy(allows_loopback=config.destinations_local).check
    named = {row.url for row in store.destinations.list_destinations() if row.is_named_by_account}
    return lambda url: make_destination(url, check if url in named else None)


def judge_counts(found: TableEvidence) -> Finding:
    """Return what the comparison of a table says, as a finding."""
    name = f"{found.source}.{found.table}"
    if found.skipped is not None:
        return Finding(
            name,
            "odd",
            f"It was not compared: {found.skipped.rstrip('.')}.",
            "Nothing is known of its rows.",
            "Mend what the message says, and compare again.",
        )
    parted = find_differences(found)
    if not parted:
        return Finding(name, "good", f"{count_noun(found.rows, 'row')}, as loaded.")
    return Finding(
        name,
        "bad",
        f"{_join_texts(one.text for one in parted)}.",
        "Somebody changed the table beside treadle, or rows are lost.",
        "The how-to page about missing rows leads through the reasons; `treadle replay` builds the "
        "table again from the log.",
    )


def _join_texts(texts: Iterable[str]) -> str:
    joined = "; ".join(texts)
    return joined[:1].upper() + joined[1:]
