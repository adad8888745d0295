"""The answers about rows and statements, for the OpenAPI document."""

from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic needs it before Python 3.12
)

from pydantic import Field
from typing_extensions import TypedDict

from treadle.control.schemas import component


@component("QuestionColumn")
class QuestionColumn(TypedDict):
    """A column of an answer."""

    name: str
    type: Annotated[str, Field(description="as the database calls it")]


@component("QuestionAnswer")
class QuestionAnswer(TypedDict):
    """Rows of a destination.

    A value is as exact as in the database. Numbers have all their digits, also those that a reader
    takes for a 64-bit float; NaN and infinity are texts. A time with a zone is in UTC and ends with
    Z, one without a zone ends without. Bytes are base64. JSON is JSON. All else is a text, as the
    database writes it.
    """

    id: Annotated[str, Field(description="of the query")]
    columns: list[QuestionColumn]
    rows: Annotated[
        list[list[Any]], Field(description="for each row a list of values, one for each column")
    ]
    row_count: Annotated[int, Field(ge=0)]
    truncated: Annotated[
        bool, Field(description="there are more rows: than the limit, or than 64 MB hold")
    ]
    milliseconds: Annotated[float, Field(ge=0, description="that it took in the database")]


class StatementPosition(TypedDict):
    """The place in a statement where it is wrong."""

    line: Annotated[int, Field(ge=1)]
    column: Annotated[int, Field(ge=1, description="in characters")]
    character: Annotated[int, Field(ge=0, description="from the beginning of the statement")]


class QuestionFault(TypedDict):
    """Why there is no answer."""

    message: str
    position: NotRequired[
        Annotated[
            StatementPosition | None, Field(description="null where the database does not say")
        ]
    ]


@component("QuestionRefusal")
class QuestionRefusal(TypedDict):
    """A question without an answer."""

    error: Annotated[
        str,
        Field(
            description="InvalidBody, InvalidStatement, StatementOverdue, StatementTooLarge, "
            "StatementStopped, AccessDenied, InvalidId, NotLoaded or TryLater"
        ),
    ]
    data: QuestionFault


@component("StoppedQuestion")
class StoppedQuestion(TypedDict):
    """A query that was stopped."""

    id: str
    stopped: bool


@component("RunStatement")
class RunStatement(TypedDict):
    """A statement to run."""

    sql: Annotated[str, Field(description="one statement that reads")]
    limit: NotRequired[
        Annotated[int, Field(ge=1, le=100_000, description="most rows; 1,000 if left out")]
    ]
    id: NotRequired[
        Annotated[
            str,
            Field(
                pattern="^[A-Za-z0-9_-]{1,64}$",
                description="by which the query can be stopped; made if left out",
            ),
        ]
    ]
    destination_id: NotRequired[
        Annotated[int, Field(ge=1, description="the default destination if left out")]
    ]
    format: NotRequired[
        Annotated[
            str,
            Field(
                pattern="^(json|csv|csv-safe)$",
                description="what the header Accept says if left out; in csv-safe no text is a "
                "formula for a spreadsheet",
            ),
        ]
    ]
