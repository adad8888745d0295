"""`treadle init`: makes a store on PostgreSQL and, if named, logs there, once."""

import argparse
from contextlib import closing

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.log_set import describe_logs, make_first_logs, parse_log_count
from treadle.cli.output import print_json, print_line
from treadle.cli.store_access import make_command_actor
from treadle.config import Config
from treadle.counting import count_noun
from treadle.errors import OperatorError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replace-log",
        action="store_true",
        help="let the next start begin a new log, because the one of the store is lost for good",
    )
    parser.add_argument(
        "--logs",
        metavar="N",
        help="how many logs the setting log gets (default 1, up to 64); sources are shared out",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def make_store(config: Config, arguments: Arguments) -> int:
    """Make the tables, the logs, the first account and its token; change nothing that is there."""
    count = parse_log_count(config, arguments)
    if config.store is None:
        raise OperatorError(
            "`treadle init` makes a store on PostgreSQL: name it with --store, TREADLE_STORE or in "
            "treadle.toml. A store in the data folder is made by the first `treadle serve`."
        )
    from treadle.server.startup import FIRST_ACCOUNT_NAME, require_durability
    from treadle.store.key_files import load_cipher, require_key
    from treadle.store.store import Store

    config.make_data_folder()
    if Store.is_made(config.store_url):
        require_key(config.key_path, config.secret_key)  # of another machine, not a new one
    cipher = load_cipher(config.key_path, config.secret_key, config.next_secret_key)
    with closing(Store.open(config.store_url, cipher, actor=make_command_actor())) as store:
        require_durability(config, store)
        if arguments.replace_log:
            store.forget_log()
        added = make_first_logs(config, store, count)
        accounts = store.accounts.list_accounts()
        made = None if accounts else store.accounts.create_account(FIRST_ACCOUNT_NAME)
    if arguments.json:
        print_json(
            {
                "made": made is not None,
                "accounts": len(accounts) or 1,
                "stitch_client_id": None if made is None else made[0].id,
                "access_token": None if made is None else made[1],
                **({} if config.log is None else {"logs": [one.number for one in added]}),
            }
        )
        return 0
    if made is None:
        print_line(f"The store is there already, with {count_noun(len(accounts), 'account')}.")
    else:
        account, token = made
        print_line("Made the store, and its first account:")
        print_line(f"stitch_client_id: {account.id}")
        print_line(f"access_token: {token}  (shown this once)")
        print_line(_tell_key(config))
    if added:
        print_line(describe_logs(added, "Made"))
    if arguments.replace_log:
        print_line("The next start begins a new log. What was accepted and not loaded is lost.")
    return 0


def _tell_key(config: Config) -> str:
    if config.secret_key:
        return "Its secrets are encrypted with the key of the settings."
    return (
        f"Its secrets are encrypted with the key {config.key_path}, which no other machine has: "
        "keep a copy of it in another place."
    )


COMMAND = CliCommand(
    words=("init",),
    help="make a store on PostgreSQL with its first account, and logs there, once",
    run=make_store,
    arguments=_arguments,
    settings=("store_durability", "log", "log_durability"),
)
