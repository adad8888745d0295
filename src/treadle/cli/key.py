"""`treadle key rotate`: gives the store another secret key, also while the server runs."""

from typing import TYPE_CHECKING

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import print_line
from treadle.cli.store_access import open_existing_store
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.store.store import Store


def rotate_key(config: Config, _: Arguments) -> int:
    """Encrypt every secret of the store with another key; run again, it goes on where it was."""
    _refuse_copied_file(config)
    with open_existing_store(config) as store:
        if config.secret_key is None:
            return _rotate_key_file(config, store)
        return _rotate_given_key(config, store)


def _refuse_copied_file(config: Config) -> None:
    """Refuse to rotate a key file of which other folders may have a copy, which stays as it is.

    A rotation that was begun goes on: what is encrypted by now may need the next key.

    Raises:
        OperatorError: the store is on a server, and its key in a file of this folder.
    """
    from treadle.store.key_files import has_next_key

    if config.store is None or config.secret_key is not None or has_next_key(config.key_path):
        return
    raise OperatorError(
        f"The key is in {config.key_path}, and the store on a server: each folder that uses it has "
        "a copy of that file, and none but this one would get the next key. Set `secret_key` "
        "(TREADLE_SECRET_KEY) to the content of the file, and `next_secret_key` to what `openssl "
        "rand -hex 32` prints, for every server and for commands; start the servers again with "
        "both, and run this once more."
    )


def _rotate_key_file(config: Config, store: "Store") -> int:
    from treadle.store.key_files import make_next_key, promote_next_key

    key = make_next_key(config.key_path)
    count = store.keys.rotate_key(key.check_value)
    former = promote_next_key(config.key_path)
    print_line(f"The key in {config.key_path} is a new one. {_describe_count(count)}")
    print_line(
        f"The former key is in {former}. Only backups of the store that were made until now need "
        "it: keep it where you keep keys, or remove it."
    )
    return 0


def _rotate_given_key(config: Config, store: "Store") -> int:
    from treadle.store.secrets import SecretKey

    if config.next_secret_key is None:
        raise OperatorError(
            "The key is given by `secret_key`, so the next one is given, too: set "
            "`next_secret_key` (TREADLE_NEXT_SECRET_KEY) to what `openssl rand -hex 32` prints, "
            "start the server again with both, and run this once more."
        )
    key = SecretKey(bytes.fromhex(config.next_secret_key.strip()))
    count = store.keys.rotate_key(key.check_value)
    print_line(f"The key in force is that of `next_secret_key`. {_describe_count(count)}")
    print_line("Now set `secret_key` to it, and remove `next_secret_key`.")
    return 0


def _describe_count(count: int) -> str:
    if count == 0:
        return "Everything was encrypted with it already."
    return f"{count} secret{'s were' if count > 1 else ' was'} encrypted anew."


COMMANDS = (
    CliCommand(
        words=("key", "rotate"),
        help="encrypt the secrets of the store with a new key, also while the server runs",
        run=rotate_key,
    ),
)
