"""The desk process: opens destinations on request, in task processes that it can end."""

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable
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
from treadle.server.errand_watch import REST_SECONDS
from treadle.server.factories import follow_store_clock, open_store
from treadle.store.errands import ErrandKind
from treadle.store.store import Store

logger: Final = logging.getLogger("treadle.server")

EXAMINATION_SECONDS_MAX: Final = 3600.0
"""How long an examination may take that reads all of the log, or asks for every table."""

STOP_SECONDS_MAX: Final = 5.0
"""How long the end of questions is waited for."""


def make_desk(config: Config, store: Store) -> CheckDesk:
    """Make the desk."""
    return CheckDesk(
        store=store,
        data=config.data,
        turns=config.turns_path,
        store_url=config.store_url,
        # One desk of a data folder runs at a time, so the next one takes over its claims at once.
        place=f"{socket.gethostname()}:{config.data}",
        clock=clock.read_clock,
        policy=AddressPolicy(allows_loopback=config.destinations_local),
    )


def list_question_tasks(config: Config) -> dict[QuestionKind, QuestionTask]:
    """Return how each kind of question is answered; examinations get the settings."""
    orders = encode_orders(config).decode()
    place = "treadle.server.doctor_task"
    return {
        **QUESTION_TASKS,
        QuestionKind.DOCTOR: QuestionTask(f"{place}:examine_installation", orders),
        QuestionKind.DOCTOR_WHOLE: QuestionTask(
            f"{place}:examine_whole", orders, EXAMINATION_SECONDS_MAX
        ),
        QuestionKind.COUNTS: QuestionTask(f"{place}:audit_counts", orders, EXAMINATION_SECONDS_MAX),
    }


def make_resend_desk(config: Config, store: Store) -> ResendDesk:
    """Make the part of the desk that sends rejected records again."""
    return ResendDesk(
        store=store,
        open_log=lambda: open_appender(config, store.logs),
        open_reader=lambda: open_reader(config, store.logs),
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
    follow_store_clock(store)
    desk, resends = make_desk(config, store), make_resend_desk(config, store)
    rebuilds = make_rebuild_desk(config, store)
    questions = QuestionDesk(
        config.data,
        config.query_seconds,
        list_question_tasks(config),
        rest_seconds=REST_SECONDS,
        may_rest=lambda: _has_nothing_to_do(store),
    )

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
        target=_answer_questions, args=(questions, stop), name="questions", daemon=True
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


def _answer_questions(questions: QuestionDesk, stop: Callable[[], None]) -> None:
    try:
        questions.run()
        stop()  # there is nothing to do, or it was stopped already
    except TreadleError as error:
        logger.error("no questions are answered: %s", error)  # noqa: TRY400 - one sentence
    except Exception:
        logger.exception("no questions are answered")


def _has_nothing_to_do(store: Store) -> bool:
    """Return whether no check and no operation waits or is under way."""
    try:
        return not store.errands.list_open_kinds() & {ErrandKind.CHECK, ErrandKind.OPERATION}
    except TreadleError:
        return False  # the store says nothing now, so there may be some
