"""What is printed when the server answers: its address, the first account and the guide."""

import contextlib
import logging
import shlex
import shutil
import sys
from pathlib import Path

from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.console_link import make_console_link
from treadle.destinations.registry import make_destination
from treadle.errors import TreadleError
from treadle.guide import write_guide, write_socket_call
from treadle.logging_setup import make_formatter
from treadle.server.factories import open_store
from treadle.server.listener import ServerListener, choose_client_url
from treadle.server.startup import FirstAccount
from treadle.server_address import ServerAddress, write_address
from treadle.store.model import ConsoleRole
from treadle.text import escape_lines

logger = logging.getLogger("treadle.server")


def note_address(config: Config, listener: ServerListener, process: int) -> None:
    """Note for commands where the server listens.

    Args:
        config: the settings.
        listener: where it listens.
        process: the PID of who has the lock of the data folder.
    """
    path = config.socket_path
    address = ServerAddress(
        process, choose_client_url(config, listener), None if path is None else str(path)
    )
    try:
        write_address(config.lock_path, address)
    except OSError as error:  # a server starts on a full disk, too
        logger.warning(
            "commands have to be told this server's address with --url or --port: it cannot be "
            "noted in %s: %s",
            config.data,
            error.strerror,
        )


def announce_server(
    config: Config, listener: ServerListener, newcomer: FirstAccount | None, *, to_person: bool
) -> None:
    """Say where the server listens: on standard output, and in the log file if there is one.

    As a line for log collectors where the settings ask for such lines.
    """
    fields: dict[str, object] = {"address": listener.address, "tls": config.tls_cert is not None}
    if newcomer is not None:
        fields |= {"client_id": newcomer.account.id, "token_file": str(newcomer.token_path)}
    said = f"treadle listens at {listener.address}"
    if config.log_file is not None:
        logger.info("%s", said, extra={"fields": fields})
    if config.log_format == "json":
        record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, said, (), None)
        record.__dict__["fields"] = fields
        sys.stdout.write(make_formatter(config, "server").format(record) + "\n")
        sys.stdout.flush()
    else:
        _print_announcement(config, listener, newcomer, to_person)


def _print_announcement(
    config: Config, listener: ServerListener, newcomer: FirstAccount | None, to_person: bool
) -> None:
    """Print the server's address and, for a new data folder, the first account and the guide.

    On a terminal the link to the console is first. It is printed nowhere else: what signs in stays
    out of journals and of the logs of containers.
    """
    lines = [f"treadle listens at {listener.address}"]
    if to_person and config.console == "on" and MemberRole.CONTROL in config.roles:
        lines = [*_list_console_lines(config, listener), "", *lines]
    if newcomer is not None:
        url = choose_client_url(config, listener)
        path = config.socket_path
        lines += [
            "",
            "This is a new data folder, so an account was made for you. Its token is in a file",
            "that only you can read; keep it where you keep passwords, and remove the file then:",
            "",
            f"  client id      {newcomer.account.id}",
            f"  account token  in the file {newcomer.token_path}",
            f"  rows go to     {make_destination(config.destination_url).identity}",
            *([f"  API document   {url}/docs"] if config.docs_page == "on" else []),
            "",
            f"The guide, to paste into another terminal in the folder {Path.cwd()}:",
            "",
            *([] if path is None else [write_socket_call(path)]),
            write_guide(
                url,
                f"$(cat {shlex.quote(shorten_path(newcomer.token_path, Path.cwd()))})",
                newcomer.account.id,
                _spell_command(config, "query"),
            ),
        ]
    # In one write, which `print` does not promise, so that a program that reads it gets all of it.
    sys.stdout.write(escape_lines("\n".join([*lines, ""])))
    sys.stdout.flush()


def _list_console_lines(config: Config, listener: ServerListener) -> list[str]:
    """Return how a person opens the console."""
    called = _spell_command(config, "console")
    with contextlib.closing(open_store(config)) as store:
        accounts = store.accounts.list_accounts()
        if len(accounts) != 1:
            return [f"The console: `{called} --account ID` prints a link to it."]
        try:
            token = store.sessions.issue_link_token(accounts[0].id, ConsoleRole.ADMIN)
        except TreadleError:
            return [f"The console: `{called}` prints a link to it."]
    url = config.public_url or choose_client_url(config, listener)
    return [
        "Open the console in a browser. The link signs in once, within an hour;",
        f"`{called}` prints another one:",
        "",
        f"  {make_console_link(url, config.console_path, token)}",
    ]


def _spell_command(config: Config, word: str) -> str:
    """Return a command as it can be typed: by its path where the shell does not find it."""
    beside = Path(sys.executable).parent / "treadle"
    known = shutil.which("treadle") is not None or not beside.exists()
    command = ("treadle" if known else shlex.quote(shorten_path(beside, Path.cwd()))) + f" {word}"
    if config.data != Path(Config.data).absolute():
        command += f" --data {shlex.quote(shorten_path(config.data, Path.cwd()))}"
    return command


def shorten_path(path: Path, here: Path) -> str:
    """Return a path as it can be typed in a folder: relative to it, where it is below.

    A service runs in the root folder, where nobody types what it shows: there it stays absolute.
    """
    if here != Path(here.anchor) and path.is_relative_to(here):
        return str(path.relative_to(here))
    return str(path)
