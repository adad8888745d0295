"""`treadle serve`."""

from treadle.cli.command import Arguments, CliCommand
from treadle.config import SETTINGS, Config


def run_serve(config: Config, _: Arguments) -> int:
    """Run the server until it is told to stop."""
    # The server names every back-end; other commands start faster without them.
    from treadle.server.main_process import run_server

    return run_server(config)


COMMAND = CliCommand(
    words=("serve",),
    help="run the server: take records and load them",
    run=run_serve,
    settings=tuple(setting.name for setting in SETTINGS),
)
