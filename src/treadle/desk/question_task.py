"""Questions as a task process answers them: functions of bytes that write an answer to a file."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from treadle.desk.answer_file import write_answer
from treadle.desk.check_order import hide_secrets
from treadle.destinations.asking import (
    AskedDestination,
    AskedSession,
    StatementFaultError,
    StatementOverdueError,
)
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import Destination
from treadle.destinations.reach import AccountReach, judge_reach, judge_rights
from treadle.destinations.registry import make_destination
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, RequestRefusedError, RetriableError, TableStoppedError
from treadle.questions import refusals
from treadle.questions.orders import (
    AnswerNote,
    DatabaseOrder,
    ReachOrder,
    RowsOrder,
    StatementOrder,
    TaskOrder,
    decode_value,
    encode_value,
)
from treadle.tables.names import Namer
from treadle.tables.options import make_options
from treadle.text import end_sentence, make_clause

GRACE_SECONDS: Final = 3.0
"""After this the process ends itself, so that it lets go of the database in any case."""

OPEN_SECONDS_MAX: Final = 5.0
"""How long a file is waited for that another process has open."""


def answer_statement(payload: bytes) -> bytes:
    """Run a statement of a person's.

    Args:
        payload: a `TaskOrder` with a `StatementOrder`.

    Returns:
        An `AnswerNote`.

    Raises:
        RequestRefusedError: it is refused or fails.
    """
    task = decode_value(payload, TaskOrder)
    order = decode_value(task.order, StatementOrder)
    began = time.monotonic()
    try:
        with open_question(order.database) as (_, session):
            _require_reach(session, order.reach)
            # One more, so that it is known whether there are more.
            answer = session.read_statement(order.sql, order.limit + 1, wraps=order.wraps)
            with task.path.open("wb") as file:
                rows, truncated = write_answer(
                    file,
                    order.id,
                    order.format,
                    answer,
                    order.limit,
                    lambda: _measure(began),
                    order.bytes_max,
                )
    except StatementFaultError as fault:
        words = hide_secrets(str(fault), order.database.url)
        raise refusals.statement_refused(words, order.sql, fault.position) from fault
    return encode_value(AnswerNote(rows, truncated, _measure(began)))


def answer_rows(payload: bytes) -> bytes:
    """Look up the newest rows of a table.

    Args:
        payload: a `TaskOrder` with a `RowsOrder`.

    Returns:
        An `AnswerNote`.

    Raises:
        RequestRefusedError: there are none, or it fails.
    """
    task = decode_value(payload, TaskOrder)
    order = decode_value(task.order, RowsOrder)
    began = time.monotonic()
    missing = refusals.nothing_loaded(f'The table "{order.table}" has no rows yet')
    try:
        with open_question(order.database) as (destination, session):
            look_up = session.look_up
            look_up.check_owner(order.schema, order.owner)
            namer = Namer(destination.profile, make_options(order.options, order.table))
            name, _ = namer.name_table(order.table)
            state = look_up.state(order.schema, name)
            if state.table is None or not state.table.relations:
                raise missing
            relation = state.table.relations[0].name
            answer = session.read_relation(order.schema, relation, order.limit + 1)
            with task.path.open("wb") as file:
                rows, truncated = write_answer(
                    file, order.id, order.format, answer, order.limit, lambda: _measure(began)
                )
    except TableStoppedError as error:
        raise missing from error  # the schema is another source's
    except StatementFaultError as fault:
        words = hide_secrets(str(fault), order.database.url)
        raise refusals.statement_refused(words) from fault
    return encode_value(AnswerNote(rows, truncated, _measure(began)))


@contextmanager
def open_question(order: DatabaseOrder) -> Iterator[tuple[Destination, AskedSession]]:
    """Open a database for a question.

    Raises:
        RequestRefusedError: it cannot be asked, or the block failed.
    """
    try:
        destination = make_destination(
            order.url, None if order.policy is None else order.policy.check
        )
        if not isinstance(destination, AskedDestination):
            raise refusals.destination_not_asked(destination.kind)
        if destination.file is not None and not destination.file.exists():
            raise refusals.nothing_loaded("The DuckDB file does not exist yet")
        with _open_in_turn(destination, destination, order) as session:
            yield destination, session
    except (RequestRefusedError, StatementFaultError, TableStoppedError):
        raise
    except StatementOverdueError as error:
        raise refusals.statement_overdue(order.seconds) from error
    except RetriableError as error:
        raise refusals.destination_unavailable(_say(error, order)) from error
    except OperatorError as error:
        raise refusals.destination_denied(_say(error, order)) from error


@contextmanager
def _open_in_turn(
    destination: Destination, asked: AskedDestination, order: DatabaseOrder
) -> Iterator[AskedSession]:
    if not destination.capabilities.exclusive:
        with _ended_after(order.seconds), asked.ask(order.seconds) as session:
            yield session
        return
    with LoaderPriority(order.turns).take_turn(destination.identity, shared=True):
        # The time is counted from when the file is open, as is the wait of the loader.
        opened = open_with_retry(lambda: asked.ask(order.seconds), OPEN_SECONDS_MAX)
        with _ended_after(order.seconds), opened as session:
            yield session


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End this process if the block takes longer than it may, whatever foreign code does."""
    timer = threading.Timer(seconds + GRACE_SECONDS, os.kill, (os.getpid(), signal.SIGXCPU))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _require_reach(session: AskedSession, asked: ReachOrder) -> None:
    """Check that a statement may be run.

    Raises:
        RequestRefusedError: the role has too many rights, or the account may not.
    """
    why = judge_rights(session.find_rights())
    if why is None and not asked.is_alone:
        reach = AccountReach(
            asked.is_alone,
            asked.has_own_role,
            asked.owner,
            frozenset(asked.own),
            frozenset(asked.foreign),
            asked.shares_login,
        )
        why = judge_reach(reach, session.list_readable_schemas(), session.read_owners())
    if why is not None:
        raise refusals.query_not_allowed(why)


def _say(error: Exception, order: DatabaseOrder) -> str:
    clause = make_clause(hide_secrets(str(error), order.url))
    return end_sentence(clause[:1].upper() + clause[1:])


def _measure(began: float) -> float:
    """Return the milliseconds since a time."""
    return round((time.monotonic() - began) * 1000, 1)
