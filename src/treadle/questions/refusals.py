"""What is answered to a question that is refused or fails, a function a case.

A fault of the statement is 400, what is not allowed 403, what is not there 404, and what may pass
by itself 503.
"""

from typing import Any, Final

from treadle.errors import RequestRefusedError

RETRY_SECONDS: Final = 2

Refusal = RequestRefusedError


def _make_refusal(status: int, code: str, message: str, **more: Any) -> Refusal:
    return RequestRefusedError(status, {"error": code, "data": {"message": message, **more}})


def _try_later(message: str) -> Refusal:
    refused = _make_refusal(503, "TryLater", message)
    refused.headers = (("Retry-After", str(RETRY_SECONDS)),)
    return refused


def invalid_question(message: str) -> Refusal:
    """Refuse a body or a parameter that is wrong."""
    return _make_refusal(400, "InvalidBody", message)


def statement_refused(words: str, sql: str = "", position: int | None = None) -> Refusal:
    """Refuse a statement in the database's words.

    Args:
        words: of the database.
        sql: the statement.
        position: character at which it is wrong, from 0; None where it is not known.
    """
    place = locate_character(sql, position)
    return _make_refusal(400, "InvalidStatement", words, position=place)


def locate_character(sql: str, position: int | None) -> dict[str, int] | None:
    """Return line and column, from 1, and the character of a position; None where it is none."""
    if position is None or not 0 <= position <= len(sql):
        return None
    before = sql[:position]
    line = before.count("\n")
    return {
        "line": line + 1,
        "column": position - (before.rfind("\n") + 1) + 1,
        "character": position,
    }


def statement_overdue(seconds: float) -> Refusal:
    """Tell that a statement took too long."""
    return _make_refusal(
        400,
        "StatementOverdue",
        f"The statement took longer than {seconds:g} s and was ended. Ask for less, or set "
        "query_seconds to more.",
    )


def doctor_overdue() -> Refusal:
    """Tell that the checks of the doctor took too long."""
    return _try_later(
        "The checks took too long and were ended. Run `treadle doctor` on the machine of the "
        "server."
    )


def statement_too_large() -> Refusal:
    """Tell that a statement needed too much memory."""
    return _make_refusal(
        400,
        "StatementTooLarge",
        "The statement needed more memory than a question may have, and was ended. Ask for less.",
    )


def statement_stopped() -> Refusal:
    """Tell that somebody stopped a statement."""
    return _make_refusal(400, "StatementStopped", "The statement was stopped.")


def query_not_allowed(message: str) -> Refusal:
    """Refuse to run statements: the setting, the database or the role forbids it."""
    return _make_refusal(403, "AccessDenied", message)


def query_is_off() -> Refusal:
    """Refuse to run statements: the setting says so."""
    return query_not_allowed(
        "The setting console_query of this server is off, so it runs no statements. The rows of "
        "each table can be looked at all the same."
    )


def question_not_found(question_id: str) -> Refusal:
    """Refuse to stop a question that is not under way."""
    return _make_refusal(404, "InvalidId", f"no such query is under way ({question_id})")


def question_id_taken(question_id: str) -> Refusal:
    """Refuse a question with the id of one that is under way."""
    return _make_refusal(409, "InvalidId", f"a query with this id is under way ({question_id})")


def nothing_loaded(what: str) -> Refusal:
    """Tell that there is nothing to look at yet."""
    return _make_refusal(404, "NotLoaded", f"{what}; the first load makes it.")


def destination_missing() -> Refusal:
    """Tell that there is no destination to ask."""
    return _make_refusal(404, "InvalidId", "There is no destination to ask; create one first.")


def destination_not_asked(kind: str) -> Refusal:
    """Tell that a destination of a kind cannot be asked."""
    return query_not_allowed(f"A destination of the type {kind} answers no questions here.")


def destination_unavailable(words: str) -> Refusal:
    """Tell that the database cannot be asked now."""
    return _try_later(words)


def destination_denied(words: str) -> Refusal:
    """Tell that the database does not let treadle ask."""
    return query_not_allowed(words)


def desk_busy(most: int) -> Refusal:
    """Tell that as many questions are under way as there can be."""
    return _try_later(
        f"{most} questions are answered at once, and as many are under way. Stop one, or ask again "
        "when it is done."
    )


def desk_missing() -> Refusal:
    """Tell that nobody is there who answers questions."""
    return _try_later(
        "The process of the server that answers questions cannot be reached; the server starts it "
        "again by itself. Ask again."
    )


def desk_ended() -> Refusal:
    """Tell that who answered the question ended in the middle of it."""
    return _try_later(
        "The process that answered the question ended before it was done, and is started again by "
        "itself. Loading goes on. Ask again."
    )
