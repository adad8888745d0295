"""The program `treadle`: finds the command, reads the settings, runs it, prints what went wrong.

Exit codes: 0 done; 2 an error that the user can correct, or that may pass by itself; 130 stopped by
Ctrl-C; 141 the reader closed the pipe; 1 an error inside treadle. A command that examines ends with
1 or 2 where it found something; docs/reference/command-line.md has a table of them.
"""

import argparse
import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from treadle import __version__
from treadle.cli import (
    account,
    apply,
    audit,
    backup,
    cluster,
    completion,
    console,
    dbt,
    destination,
    destination_check,
    destination_move,
    doctor,
    help_page,
    hook,
    init,
    key,
    ledger,
    loads,
    log,
    log_set,
    members,
    metrics_token,
    options,
    plan,
    problems,
    push,
    query,
    quotas,
    recipient,
    rejects,
    replay,
    requests,
    serve,
    singer,
    source,
    status,
    table,
    table_schema,
    token,
    trail,
    upgrade,
    user,
    webhook,
)
from treadle.cli.command import (
    CliCommand,
    CommandParser,
    UsageError,
    add_setting_flags,
    collect_flags,
    print_warning,
)
from treadle.cli.output import (
    end_output,
    make_output_robust,
    print_error,
    print_pending,
    print_traceback,
)
from treadle.cli.store_access import find_user_name
from treadle.config import FILE_SETTING, SETTINGS, Config, OperatorWarning
from treadle.errors import InternalError, OperatorError, TreadleError
from treadle.files import PRIVATE_UMASK, keep_owner
from treadle.process_end import skip_last_collection

COMMANDS: tuple[CliCommand, ...] = (
    serve.COMMAND,
    init.COMMAND,
    *cluster.COMMANDS,
    console.COMMAND,
    *account.COMMANDS,
    *source.COMMANDS,
    *destination.COMMANDS,
    options.COMMAND,
    webhook.COMMAND,
    table_schema.COMMAND,
    *quotas.COMMANDS,
    *token.COMMANDS,
    *metrics_token.COMMANDS,
    *recipient.COMMANDS,
    *user.COMMANDS,
    *key.COMMANDS,
    *hook.COMMANDS,
    destination_check.COMMAND,
    destination_move.COMMAND,
    destination_move.FORMER_COMMAND,
    push.COMMAND,
    singer.COMMAND,
    plan.COMMAND,
    query.COMMAND,
    status.COMMAND,
    problems.COMMAND,
    requests.COMMAND,
    loads.COMMAND,
    *table.COMMANDS,
    ledger.COMMAND,
    audit.COMMAND,
    dbt.COMMAND,
    trail.COMMAND,
    *rejects.COMMANDS,
    replay.COMMAND,
    *log.COMMANDS,
    *log_set.COMMANDS,
    *backup.COMMANDS,
    *apply.COMMANDS,
    members.COMMAND,
    *upgrade.COMMANDS,
    doctor.COMMAND,
    completion.COMMAND,
    *help_page.COMMANDS,
)

FOREIGN_ERRORS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Errors of the system that no command can help: a file is another user's, or read-only."""

FULL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the system for what finds no room, in a file or behind standard output."""

GROUPS = {
    (): "take JSON records over HTTP and load them into database tables",
    ("account",): "accounts, which own sources, and their tokens for the Connect API",
    ("account", "token"): "tokens for the Connect API",
    ("cluster",): "a treadle of several machines, with its store and logs on PostgreSQL",
    ("destination",): "destinations, the databases that rows are loaded into",
    ("source",): "sources, each of which is pushed into its own schema",
    ("hook",): "post-load hooks: URLs that are called after loads, and their deliveries",
    ("key",): "the secret key that the store is encrypted with",
    ("metrics",): "the figures of the server",
    ("metrics", "token"): "tokens that open /metrics",
    ("log",): "the log: what was accepted, and what waits to be loaded",
    ("recipient",): "addresses that are told of problems by mail, the custom e-mails of the API",
    ("rejects",): "records that could not be loaded, and how to send them again",
    ("table",): "the tables of a source, what waits of each, and what changed of them",
    ("upgrade",): "an upgrade of a cluster, member by member",
    ("token",): "import and webhook tokens of a source",
    ("user",): "people who sign in to the console with an e-mail address and a password",
}
"""The help of each group of commands, by the words before the last one."""


DESTRUCTIVE: Final = frozenset(
    {
        *("adopt", "delete", "disable", "expire", "move", "remove", "replace", "replay"),
        *("restore", "revoke", "rotate", "salvage"),
    }
)
"""Last words of commands that take something away. None is proposed for a word that is misspelt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `treadle`; None for those of this process.

    Returns:
        The exit code.
    """
    make_output_robust()
    if argv is None:
        # What nobody caught is printed by Python as it is, with whatever a client sent in it.
        sys.excepthook = print_traceback
    user_umask = os.umask(PRIVATE_UMASK)
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv), user_umask)
        print_pending()
    except InternalError:
        raise
    except TreadleError as error:
        print_error(make_sentence(str(error)))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        end_output()
        return 141
    except OSError as error:
        if error.errno in FULL_ERRORS:
            with suppress(OSError):  # standard error may be on the same disk
                print_error(describe_full_disk(error))
            end_output()
            return 2
        if error.errno not in FOREIGN_ERRORS:
            raise
        print_error(describe_foreign_file(error))
        return 2
    else:
        return code
    finally:
        if argv is None:
            skip_last_collection()


def describe_foreign_file(error: OSError) -> str:
    """Say what to do about a file or folder that this user may not use, or nobody can write."""
    found = error.strerror or type(error).__name__
    named = "A file" if error.filename is None else str(error.filename)
    if error.errno == errno.EROFS:
        return (
            f"{named} cannot be written: {found}; make the disk writable, or name another folder."
        )
    try:
        owner = f", {find_user_name(Path(error.filename).stat().st_uid)}" if error.filename else ""
    except OSError:
        owner = ""
    return f"{named} cannot be used: {found}; run treadle as the user that it belongs to{owner}."


def describe_full_disk(error: OSError) -> str:
    """Say that a file finds no room; one that was open already, such as the output, has no name."""
    named = "The output or a file" if error.filename is None else str(error.filename)
    found = error.strerror or type(error).__name__
    return f"{named} cannot be written: {found}; make room, or write elsewhere."


def make_sentence(text: str) -> str:
    """Return an error text as one line with a capital letter and a full stop."""
    text = " ".join(text.split())
    if re.match(r"[a-z]+(?: |, |: )", text):
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def _run(argv: list[str], user_umask: int) -> int:
    if not argv or (argv[0] == "help" and not any(word.startswith("-") for word in argv)):
        argv = [*argv[1:], "--help"]
    parser, leaves = build_parser(argv)
    check_spelling(argv, leaves)
    arguments, left = parser.parse_known_args(argv)
    command: CliCommand = arguments.command
    if left:
        called = " ".join(("treadle", *command.words))
        raise UsageError(f"`{called}` cannot use {left[0]!r}; see `{called} --help`.")
    warnings: list[OperatorWarning] = []
    arguments.describe_commands = lambda: completion.make_tree(build_parser()[1], GROUPS)
    warn = warnings.append if command.takes_warnings else print_warning
    try:
        # Some commands have flags of their own that are called as a setting: `user add --role`.
        taken = {setting.name for setting in command.flags}
        settings = [one for one in (*SETTINGS, FILE_SETTING) if one.name in taken]
        config = Config.read(collect_flags(arguments, settings), warn=warn)
    except OperatorError as fault:
        if command.run_without_settings is None:
            raise
        return command.run_without_settings(fault, arguments)
    if command.opens_data:
        config.check_data_folder(warn)
    arguments.warnings = warnings
    arguments.user_umask = user_umask
    with keep_owner(config.data):
        return command.run(config, arguments)


def build_parser(
    argv: Sequence[str] | None = None,
) -> tuple[CommandParser, dict[tuple[str, ...], CommandParser]]:
    """Return the parser of the whole command line, and words -> the parser of each command.

    Args:
        argv: the words that are to be read: where they begin with a command, it is the only one
            that the parser knows, since those of all commands take longer than most commands. None
            for all.
    """
    named = [one for one in COMMANDS if argv and tuple(argv[: len(one.words)]) == one.words]
    top = CommandParser(prog="treadle", description=make_sentence(GROUPS[()]), allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"treadle {__version__}")
    inner: dict[tuple[str, ...], argparse._SubParsersAction[CommandParser]] = {}
    leaves: dict[tuple[str, ...], CommandParser] = {}

    def children(words: tuple[str, ...]) -> "argparse._SubParsersAction[CommandParser]":
        if words not in inner:
            parser = top
            if words:
                parser = children(words[:-1]).add_parser(
                    words[-1],
                    help=GROUPS[words],
                    description=make_sentence(GROUPS[words]),
                    allow_abbrev=False,
                )
            inner[words] = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
        return inner[words]

    for command in named or COMMANDS:
        leaf = children(command.words[:-1]).add_parser(
            command.words[-1],
            help=command.help,
            description=make_sentence(command.help),
            epilog=help_page.write_examples(command.words),
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        if argv is None or named:
            command.arguments(leaf)
            add_setting_flags(leaf, command.flags)
        leaf.intermixed = command.intermixed
        leaf.set_defaults(command=command)
        leaves[command.words] = leaf
    first_words = {
        command.words[0]: GROUPS.get(command.words[:1], command.help) for command in COMMANDS
    }
    top.overview = help_page.write_overview(make_sentence(GROUPS[()]), first_words)
    return top, leaves


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps the lines of examples, and wraps all other texts."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(("example:", "examples:")):
            return text
        return super()._fill_text(text, width, indent)


def check_spelling(argv: Sequence[str], leaves: dict[tuple[str, ...], CommandParser]) -> None:
    """Refuse an unknown command or flag, and name the nearest known one.

    argparse would first complain that the flag is missing that the misspelt one was meant to be.

    Raises:
        UsageError: for the first such word.
    """
    words: tuple[str, ...] = ()
    while words not in leaves:
        known = sorted({name[len(words)] for name in leaves if name[: len(words)] == words})
        called = " ".join(("treadle", *words))
        if len(argv) == len(words):
            raise UsageError(
                f"Say which command: `{called}` is followed by {_join_choices(known)}; "
                f"`{called} --help` explains them."
            )
        word = argv[len(words)]
        if word.startswith("-"):
            return  # --help, --version, or something that argparse refuses
        if word not in known:
            raise UsageError(
                f"There is no command `{called} "
                f"{word}`{_suggest_command(f'{called} {word}', leaves)}"
            )
        words = (*words, word)
    actions = leaves[words]._actions  # argparse has no public list of them
    options = {option for action in actions for option in action.option_strings}
    for word in argv[len(words) :]:
        name = word.partition("=")[0]
        if word == "--":
            return
        if name.startswith("--") and " " not in name and name not in options:
            called = " ".join(("treadle", *words))
            near = difflib.get_close_matches(name, list(options), n=1)
            meant = f"did you mean {near[0]}?" if near else f"see `{called} --help`."
            raise UsageError(f"`{called}` has no flag {name}; {meant}")


def _suggest_command(called: str, leaves: Iterable[tuple[str, ...]]) -> str:
    every = [" ".join(("treadle", *words)) for words in leaves if words[-1] not in DESTRUCTIVE]
    near = difflib.get_close_matches(called, every, n=1, cutoff=0.7)
    return f"; did you mean `{near[0]}`?" if near else "; see `treadle --help`."


def _join_choices(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]
