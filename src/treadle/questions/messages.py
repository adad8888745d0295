"""What who asks and the desk send to each other."""

from dataclasses import dataclass
from typing import Any

from treadle.errors import RequestRefusedError
from treadle.questions.orders import AnswerNote, QuestionKind


@dataclass(frozen=True, slots=True)
class DeskMessage:
    """What is sent to the desk: a question, or the wish to stop one.

    Attributes:
        id: of the question; unique among those of its account that are under way.
        account_id: who asks; 0 for the installation.
        kind: of the question; None to stop it.
        places: questions of the account that may be under way at once.
        order: JSON of the order.
    """

    id: str
    account_id: int
    kind: QuestionKind | None = None
    places: int = 1
    order: str = "null"


@dataclass(frozen=True, slots=True)
class DeskReply:
    """What the desk sends back. Where nothing is refused, the answer comes as a file.

    Attributes:
        note: of the answer.
        status: of a refusal; 0 for none.
        body: of a refusal.
        headers: of a refusal.
    """

    note: AnswerNote | None = None
    status: int = 0
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()

    def raise_refusal(self) -> None:
        """Raise the refusal, if it is one.

        Raises:
            RequestRefusedError: it is.
        """
        if self.status:
            raise RequestRefusedError(self.status, self.body, self.headers)


def make_reply(refused: RequestRefusedError) -> DeskReply:
    """Return a refusal as a reply."""
    return DeskReply(None, refused.status, refused.body, refused.headers)
