"""The guide of six calls as shell lines, which `treadle serve` prints once and README shows."""

import shlex
from pathlib import Path
from string import Template

GUIDE = Template(Path(__file__).with_name("guide.sh.template").read_text())


def write_guide(
    base_url: str, account_token: str, client_id: int, query: str = "treadle query"
) -> str:
    """Return the guide (connect-api.md 0) for one server and account, as lines for a POSIX shell.

    Args:
        base_url: of the server, without a slash at the end.
        account_token: what the shell puts in place of the account token: `$(cat a/file)`.
        client_id: the account's `stitch_client_id`.
        query: the command that shows rows, with `--data` if the data folder is not the default.
    """
    return GUIDE.substitute(
        base_url=base_url, account_token=account_token, client_id=client_id, query=query
    )


def write_socket_call(path: Path) -> str:
    """Return a line that has curl use a UNIX socket in the lines after it."""
    return f'curl() {{ command curl --unix-socket {shlex.quote(str(path))} "$@"; }}\n'
