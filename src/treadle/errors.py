"""The errors of treadle, ordered by who has to act.

TreadleError
 ├── RequestRefusedError    the sender: the request is answered with a documented body
 ├── OperatorError          the operator: settings, permissions, files; the text says what to do
 │    └── TableStoppedError     the operator, for one table; its records wait
 ├── RetriableError         nobody now: it may pass by itself, so it is tried again
 └── InternalError          we: a promise inside treadle was broken

A room subclasses these where a caller has to tell cases apart. A driver's errors are translated in
the room that uses the driver, with the cause kept (`raise ... from error`).
"""


class TreadleError(Exception):
    """The base class of all errors of treadle. `str(error)` is a sentence a person can act on."""


class RequestRefusedError(TreadleError):
    """A request is refused: it is answered with an error, and nothing of it is kept.

    Attributes:
        status: HTTP status code.
        body: a JSON value (sent compact, in key order), or a `str` sent as text/plain.
        headers: further answer headers, for example `Retry-After`.
    """

    def __init__(
        self, status: int, body: object, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers


class OperatorError(TreadleError):
    """Settings, permissions or files are not as they must be. The text says what to do."""


class TableStoppedError(OperatorError):
    """Loads of one table cannot go on until somebody acts (loading.md 5.4, 10.3).

    Its accepted records wait; other tables go on.
    """


class RetriableError(TreadleError):
    """Something outside treadle is not available now: a destination, a lock, space on the disk."""


class InternalError(TreadleError):
    """A promise inside treadle was broken. The text names the promise and what was found."""
