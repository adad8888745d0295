"""A desk for pages that answers what a test wants."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.console.visitor import Console

from treadle.errors import RequestRefusedError
from treadle.questions.client import PlannedQuestion
from treadle.questions.orders import AnswerFormat, AnswerNote, StatementOrder


@dataclass
class MemoryAnswer:
    """What `DeskAnswer` is, in memory."""

    content: bytes
    note: AnswerNote
    file: io.BytesIO = field(default_factory=io.BytesIO)

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self) -> bytes:
        return self.content

    def read_chunks(self) -> Any:
        yield self.content


@dataclass
class WantedDesk:
    """Answers statements.

    Attributes:
        answer: the order of a statement -> columns and rows, or raises a refusal.
        orders: that came.
        stopped: ids that were to be stopped.
    """

    answer: Callable[[StatementOrder], tuple[list[str], list[list[Any]]]]
    orders: list[StatementOrder] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def make_call(self, question: PlannedQuestion) -> "WantedCall":
        assert isinstance(question.order, StatementOrder)
        return WantedCall(self, question.order)

    def stop(self, question_id: str, account_id: int) -> bool:
        self.stopped.append(question_id)
        raise RequestRefusedError(404, "no such query is under way")


@dataclass
class WantedCall:
    desk: WantedDesk
    order: StatementOrder

    def ask(self) -> MemoryAnswer:
        self.desk.orders.append(self.order)
        columns, rows = self.desk.answer(self.order)
        if self.order.format is AnswerFormat.JSON:
            text = json.dumps(
                {
                    "id": self.order.id,
                    "columns": [{"name": name, "type": "bigint"} for name in columns],
                    "rows": rows,
                    "row_count": len(rows),
                    "truncated": len(rows) == self.order.limit,
                    "milliseconds": 3.25,
                }
            )
        else:
            text = "\r\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\r\n"
        return MemoryAnswer(text.encode(), AnswerNote(len(rows), False, 3.25))

    def abandon(self) -> None:
        pass


def put_desk(console: Console, desk: WantedDesk) -> WantedDesk:
    """Let a console ask a desk."""
    assert console.services.query is not None
    console.services.query.asking.client = desk  # type: ignore[assignment]  # as much as is asked
    return desk
