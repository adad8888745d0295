"""Finds the destination of a URL.

Back-ends of other distributions announce themselves by an entry point in the group
`treadle.destinations`: its name is the URL's scheme, its value a function from URL to Destination.
"""

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from treadle.destinations.known_kinds import KNOWN_KINDS, AddressCheck, find_known_kind
from treadle.destinations.protocol import Destination
from treadle.errors import OperatorError

ENTRY_POINT_GROUP: Final = "treadle.destinations"
DUCKDB: Final = "duckdb"


def list_types() -> list[str]:
    """Return the types of destinations whose driver is installed, in order."""
    schemes = {scheme for kind in KNOWN_KINDS for scheme in kind.schemes}
    others = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)} - schemes
    return sorted({DUCKDB, *others, *(kind.type for kind in KNOWN_KINDS if kind.is_installed)})


def make_destination(url: str, check_address: AddressCheck | None = None) -> Destination:
    """Return the destination of a URL; nothing is opened or connected to.

    Args:
        url: `duckdb:///absolute/path.duckdb`, `duckdb://relative/path.duckdb`, or one with the
            scheme of a `KnownKind` or of an installed back-end.
        check_address: raises for a resolved address that is not to be connected to; None to connect
            to any. For the URLs that clients of the Connect API made. A back-end of another
            distribution is not told of it.

    Raises:
        OperatorError: no such scheme, a malformed URL, or a driver that is not installed.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    url = f"{scheme}{separator}{rest}"
    if not separator:
        # Nothing of the text is repeated: it may hold a password.
        raise OperatorError(
            "a destination is named by a URL such as duckdb:///var/lib/treadle/data.duckdb, "
            "postgresql://user:password@host:5432/database or mysql://user:password@host:3306/; "
            "the text given has no ://"
        )
    if scheme == DUCKDB:
        return _duckdb(url)
    kind = find_known_kind(scheme)
    if kind is not None:
        return kind.make(url, check_address)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if scheme in installed:
        make: Callable[[str], Destination] = installed[scheme].load()
        return make(url)
    schemes = (scheme for kind in KNOWN_KINDS for scheme in kind.schemes)
    known = sorted({DUCKDB, *schemes, *installed})
    near = get_close_matches(scheme, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}://?" if near else f"known are {', '.join(known)}"
    raise OperatorError(f"no destination is called {scheme!r}; {hint}")


def find_type(url: str) -> str:
    """Return the type of destination that a URL names, by its scheme alone."""
    scheme = url.partition("://")[0].lower()
    kind = find_known_kind(scheme)
    return scheme if kind is None else kind.type


def is_exclusive(url: str) -> bool:
    """Return whether only one process at a time can open the destination of a URL.

    Their drivers are not imported for those that treadle has itself.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == DUCKDB or find_known_kind(scheme) is not None:
        return scheme == DUCKDB
    try:
        return make_destination(url).capabilities.exclusive
    except OperatorError:
        return False


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
