"""`treadle serve`: runs the server."""

import gc

from treadle.cli.command import Arguments, CliCommand
from treadle.config import SETTINGS, Config


def run_serve(config: Config, arguments: Arguments) -> int:
    """Run the server until it is told to stop."""
    gc.disable()  # until the server is ready: a start is much that stays, and little garbage
    # Imported here: the server imports every back-end, and other commands start faster without.
    from treadle.server.main_process import run_server

    return run_server(config, arguments.warnings)


COMMAND = CliCommand(
    words=("serve",),
    help="run the server: take records and load them",
    run=run_serve,
    settings=tuple(setting.name for setting in SETTINGS),
    takes_warnings=True,
)
