"""Questions of people to a destination, and the rows that are answered."""

from treadle.destinations.asking import AnswerRows, AskedDestination
from treadle.destinations.registry import make_destination


def asked(url: str) -> AskedDestination:
    """The destination of a URL."""
    destination = make_destination(url)
    assert isinstance(destination, AskedDestination)
    return destination


def ask(url: str, statement: str, *, limit: int = 10, wraps: bool = True) -> AnswerRows:
    """What a statement answers, once the session is over."""
    with asked(url).ask(20.0) as session:
        found = session.read_statement(statement, limit, wraps=wraps)
        return AnswerRows(found.columns, iter(list(found.rows)))
