"""Examinations of the whole server that the desk makes, and that go on when who asked has left."""

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import Final

from treadle.control.lookups import require_whole_installation
from treadle.control.query_requests import mint_question_id
from treadle.control.traces import TraceFiles
from treadle.errors import RequestRefusedError
from treadle.questions import refusals
from treadle.questions.client import DeskClient, PlannedQuestion
from treadle.questions.orders import QuestionKind
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.traces.examination import (
    ExaminationKind,
    ExaminationNote,
    read_examination,
    write_examination,
)

logger: Final = logging.getLogger(__name__)

INSTALLATION: Final = 0
"""Stands for the account of questions about the whole installation."""

LONG_SECONDS: Final = 3700.0
"""Longest wait for an examination: more than the desk lets it take."""

GOES_ON: Final = "An examination of this kind goes on. Wait until it is done."


@dataclass(frozen=True, slots=True)
class ExaminationRunner:
    """Starts examinations, and tells how far the last ones are.

    Attributes:
        store: knows the accounts.
        files: of the server.
        desk: makes them; None where there is none.
    """

    store: Store
    files: TraceFiles
    desk: DeskClient | None = None

    def start(self, account: Account, kind: ExaminationKind, *, whole: bool = False) -> None:
        """Start an examination; it goes on by itself.

        Raises:
            RequestRefusedError: 403, the installation has other accounts; 409, one goes on; 503,
                there is no desk.
        """
        require_whole_installation(self.store, account)
        folder = self.files.examinations
        if self.desk is None or folder is None:
            raise refusals.desk_missing()
        now = self.files.clock()
        last = read_examination(folder, kind)
        if last is not None and last.is_going_on(now):
            raise RequestRefusedError(409, {"message": GOES_ON})
        note = ExaminationNote(kind, whole, now, now, step="beginning")
        with contextlib.suppress(OSError):  # a full disk is found all the same
            write_examination(folder, note)
        question = PlannedQuestion(
            _choose_question(kind, whole=whole),
            mint_question_id(),
            INSTALLATION,
            1,
            None,
            LONG_SECONDS,
        )
        threading.Thread(
            target=self._wait, args=(question, note), name=f"examination {kind}", daemon=True
        ).start()

    def read(self, kind: ExaminationKind) -> ExaminationNote | None:
        """Return the last examination of a kind; None where there was none."""
        folder = self.files.examinations
        return None if folder is None else read_examination(folder, kind)

    def _wait(self, question: PlannedQuestion, note: ExaminationNote) -> None:
        """Wait for the desk, which notes how far it is; note why there is no result."""
        assert self.desk is not None  # noqa: S101 - asked before
        assert self.files.examinations is not None  # noqa: S101 - as well
        try:
            self.desk.make_call(question).ask().file.close()
        except RequestRefusedError as refused:
            now = self.files.clock()
            told = refused.body if isinstance(refused.body, dict) else {}
            why = str(told.get("data", told).get("message", "It failed."))
            failed = ExaminationNote(
                note.kind, note.whole, note.started_at, now, finished_at=now, failure=why
            )
            with contextlib.suppress(OSError):
                write_examination(self.files.examinations, failed)
        except Exception:
            logger.exception("an examination cannot be followed")


def _choose_question(kind: ExaminationKind, *, whole: bool) -> QuestionKind:
    if kind is ExaminationKind.COUNTS:
        return QuestionKind.COUNTS
    return QuestionKind.DOCTOR_WHOLE if whole else QuestionKind.DOCTOR
