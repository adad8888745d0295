"""`treadle serve`."""

from treadle.cli.command import Arguments, Command
from treadle.config import SETTINGS, Config


def run(config: Config, _: Arguments) -> int:
    """Run the server until it is told to stop."""
    # The server names every back-end; other commands start faster without them.
    from treadle.server.serve import serve

    return serve(config)


COMMAND = Command(
    words=("serve",),
    help="run the server: take records and load them",
    run=run,
    settings=tuple(setting.name for setting in SETTINGS),
)
