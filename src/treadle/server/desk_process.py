"""The desk process: opens destinations on request, in task processes that it can end."""

import gc
import logging
import signal
import socket
import threading
from typing import Final

from treadle import clock
from treadle.config import Config
from treadle.desk.check_desk import CheckDesk
from treadle.desk.question_desk import QUESTION_TASKS, QuestionDesk, QuestionTask
from treadle.desk.rebuild_desk import RebuildDesk
from treadle.desk.resend_desk import ResendDesk
from treadle.errors import TreadleError
from treadle.http.address_policy import AddressPolicy
from treadle.log.registry import open_appender, open_reader
from treadle.questions.orders import QuestionKind
from treadle.server.child_channel import call_when_orphaned, encode_orders, report_ready
from treadle.server.factories import open_store
from treadle.store.store import Store

logger: Final = logging.getLogger("treadle.server")

STOP_SECONDS_MAX: Final = 5.0
"""How long the end of questions is waited for."""


def make_desk(config: Config, store: Store) -> CheckDesk:
    """Make the desk."""
    return CheckDesk(
        store=store,
        data=config.data,
        turns=config.turns_path,
        # One desk of a data folder runs at a time, so the next one takes over its claims at once.
        place=f"{socket.gethostname()}:{config.data}",
        clock=clock.read_clock,
        policy=AddressPolicy(allows_loopback=config.destinations_local),
    )


def list_question_tasks(config: Config) -> dict[QuestionKind, QuestionTask]:
    """Return how each kind of question is answered; the doctor gets the settings."""
    doctor = QuestionTask(
        "treadle.server.doctor_task:examine_installation", encode_orders(config).decode()
    )
    return {**QUESTION_TASKS, QuestionKind.DOCTOR: doctor}


def make_resend_desk(config: Config, store: Store) -> ResendDesk:
    """Make the part of the desk that sends rejected records again."""
    return ResendDesk(
        store=store,
        open_log=lambda: open_appender(config),
        open_reader=lambda: open_reader(config),
        place=f"{socket.gethostname()}:{config.data}",
        clock=clock.read_clock,
    )


def make_rebuild_desk(config: Config, store: Store) -> RebuildDesk:
    """Make the part of the desk that builds tables again from the log."""
    place = f"{socket.gethostname()}:{config.data}"
    return RebuildDesk(store, encode_orders(config).decode(), place)


def run_desk(config: Config) -> None:
    """Do what is asked for until SIGTERM, or until the supervisor is gone."""
    store = open_store(config)
    desk, resends = make_desk(config, store), make_resend_desk(config, store)
    rebuilds = make_rebuild_desk(config, store)
    questions = QuestionDesk(config.data, config.query_seconds, list_question_tasks(config))

    def stop() -> None:
        desk.stop()
        questions.stop()
        resends.stop()
        rebuilds.stop()

    def wake() -> None:
        desk.wake()
        resends.wake()
        rebuilds.wake()

    signal.signal(signal.SIGTERM, lambda *_: stop())
    call_when_orphaned(stop, wake)
    answering = threading.Thread(
        target=_answer_questions, args=(questions,), name="questions", daemon=True
    )
    answering.start()
    resending = threading.Thread(target=resends.run, name="resends")
    resending.start()
    rebuilding = threading.Thread(target=rebuilds.run, name="rebuilds")
    rebuilding.start()
    gc.freeze()
    gc.enable()
    try:
        desk.run(report_ready)
    finally:
        resends.stop()
        rebuilds.stop()
        resending.join()
        rebuilding.join()
    answering.join(STOP_SECONDS_MAX)
    store.close()


def _answer_questions(questions: QuestionDesk) -> None:
    try:
        questions.run()
    except TreadleError as error:
        logger.error("no questions are answered: %s", error)  # noqa: TRY400 - one sentence
    except Exception:
        logger.exception("no questions are answered")
