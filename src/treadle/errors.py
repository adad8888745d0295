"""What can go wrong, by whose fault it is.

TreadleError
 ├── Refused          the sender's fault: the request is answered with a documented body
 ├── OperatorFault    the operator's fault: settings, permissions, files; says what to do
 │    └── TableStopped    one table cannot go on until somebody acts; its data waits
 ├── TryLater         nobody's fault now: may pass by itself, so it is tried again
 └── Defect           ours: a promise inside treadle was broken

Rooms subclass these where a caller must tell cases apart. Driver errors are translated at the
border of the room that uses the driver, with the cause kept (`raise ... from error`).
"""


class TreadleError(Exception):
    """Anything treadle raises on purpose. `str(error)` is one sentence a person can act on."""


class RequestRefusedError(TreadleError):
    """A request that is answered with an error; nothing of it is kept.

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
    """Settings, permissions or files are not as they must be; the text says what to do."""


class TableStoppedError(OperatorError):
    """Loads of one table cannot go on until somebody acts (loading.md 5.4, 10.3).

    Its accepted records wait; other tables go on.
    """


class RetriableError(TreadleError):
    """Something outside is not available now: a destination, a lock, room on the disk."""


class InternalError(TreadleError):
    """A promise inside treadle was broken. The text names the promise and what was found."""
