"""`treadle serve`: runs the server."""

import gc

from treadle.cli.command import Arguments, CliCommand
from treadle.config import SETTINGS, Config
from treadle.errors import OperatorError


def run_serve(config: Config, arguments: Arguments) -> int:
    """Run the server until it is told to stop.

    Raises:
        OperatorError: a setting is not UTF-8.
    """
    check_encoding(config)
    gc.disable()  # until the server is ready: a start is much that stays, and little garbage
    # Imported here: the server imports every back-end, and other commands start faster without.
    from treadle.server.main_process import run_server

    return run_server(config, arguments.warnings)


def check_encoding(config: Config) -> None:
    """Refuse a setting that is not UTF-8, such as the name of a folder of another encoding.

    Settings are given to the processes of a server as JSON.

    Raises:
        OperatorError: for the first such setting.
    """
    for setting in SETTINGS:
        value = getattr(config, setting.name)
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise OperatorError(
                f"{setting.name} is to be in UTF-8, not {setting.kind.show(value)}."
            ) from None


COMMAND = CliCommand(
    words=("serve",),
    help="run the server: take records and load them",
    run=run_serve,
    settings=tuple(setting.name for setting in SETTINGS),
    takes_warnings=True,
)
