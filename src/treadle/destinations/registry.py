"""Finds the destination of a URL.

Back-ends of other distributions announce themselves by an entry point in the group
`treadle.destinations`: its name is the URL's scheme, its value a function from URL to Destination.
"""

import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from treadle.destinations.protocol import Destination
from treadle.errors import OperatorError

ENTRY_POINT_GROUP: Final = "treadle.destinations"


def make_destination(url: str) -> Destination:
    """Return the destination of a URL; nothing is opened or connected to.

    Args:
        url: `duckdb:///absolute/path.duckdb`, `duckdb://relative/path.duckdb`,
            `postgresql://user:password@host:5432/database`, or the scheme of an installed back-end.

    Raises:
        OperatorError: no such scheme, a malformed URL, or a driver that is not installed.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    url = f"{scheme}{separator}{rest}"
    if not separator:
        # Nothing of the text is repeated: it may hold a password.
        raise OperatorError(
            "a destination is named by a URL such as duckdb:///var/lib/treadle/data.duckdb or "
            "postgresql://user:password@host:5432/database; the text given has no ://"
        )
    built_in = _BUILT_IN.get(scheme)
    if built_in is not None:
        return built_in(url)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if scheme in installed:
        make: Callable[[str], Destination] = installed[scheme].load()
        return make(url)
    known = sorted({*_BUILT_IN, *installed})
    near = get_close_matches(scheme, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}://?" if near else f"known are {', '.join(known)}"
    raise OperatorError(f"no destination is called {scheme!r}; {hint}")


def _duckdb(url: str) -> Destination:
    from treadle.destinations.duckdb import DuckDBDestination

    path = unquote(url.partition("://")[2])
    if not path or path.endswith("/") or path.startswith(":memory:"):
        raise OperatorError(
            "a DuckDB destination is a file that is opened anew for each load; expected "
            f"duckdb:///absolute/path.duckdb, found {url!r}"
        )
    if unable := sorted(set(path) & set("?\\\0")):
        # DuckDB has its write-ahead log elsewhere then, or takes a directory for meant.
        raise OperatorError(
            f"DuckDB cannot open a file whose path has {unable[0]!r} in it, as {path!r}; name "
            "another file"
        )
    return DuckDBDestination(Path(path))


def _postgres(url: str) -> Destination:
    try:
        module = importlib.import_module("treadle.destinations.postgres")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise OperatorError(
            "PostgreSQL destinations need the driver psycopg, which is not installed; run "
            'pip install "treadle[postgres]"'
        ) from error
    destination: Destination = module.PostgresDestination(url)
    return destination


_BUILT_IN: Final[Mapping[str, Callable[[str], Destination]]] = {
    "duckdb": _duckdb,
    "postgres": _postgres,
    "postgresql": _postgres,
}
