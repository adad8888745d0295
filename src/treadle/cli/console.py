"""`treadle console`: prints a link that signs in to the console once."""

import argparse

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.folder_server import ADDRESS_HELPS, find_folder_server
from treadle.cli.output import print_json, print_line
from treadle.cli.store_access import find_account, open_existing_store
from treadle.config import Config
from treadle.console_link import make_console_link
from treadle.errors import OperatorError

ROLES = ("viewer", "operator", "admin")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="id or name (default: the only one)")
    parser.add_argument(
        "--role", choices=ROLES, default="admin", help="role of the session (default: admin)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_link(config: Config, arguments: Arguments) -> int:
    """Print a link that signs in once, within an hour."""
    from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
    from treadle.store.model import ConsoleRole

    if config.console == "off":
        raise OperatorError("The server serves no console: the setting console is off.")
    with open_existing_store(config) as store:
        account = find_account(store, arguments.account)
        try:
            token = store.sessions.issue_link_token(account.id, ConsoleRole(arguments.role))
        except NotFoundError as error:
            raise OperatorError(
                f"The account {account.id} has no active token, and a session needs one that it "
                f"ends with: make one with `treadle account token create --account {account.id}`."
            ) from error
        except EphemeralTokenLimitError as error:
            raise OperatorError(
                f"{error.limit} links of the account {account.id} wait for their use; they end "
                "within an hour, and each one ends with its use."
            ) from error
    url = config.public_url or find_folder_server(config).url
    link = make_console_link(url, config.console_path, token)
    if arguments.json:
        print_json({"stitch_client_id": account.id, "link": link})
        return 0
    print_line(link)
    print_line("Open it in a browser: it signs in once, within an hour.")
    return 0


COMMAND = CliCommand(
    words=("console",),
    help="print a link that signs in to the console once, within an hour",
    run=print_link,
    arguments=_arguments,
    settings=("host", "port", "tls_cert", "console_path", "public_url"),
    helps=ADDRESS_HELPS,
)
