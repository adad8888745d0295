"""`treadle singer`: the target of a Singer tap."""

import argparse
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand, collect_flags, print_warning
from treadle.cli.folder_server import ADDRESS_HELPS
from treadle.cli.output import print_error, print_raw_json
from treadle.cli.progress_bar import show_waiting
from treadle.cli.push import STANDARD_INPUT, PushTarget, find_target, find_trouble, open_input
from treadle.config import PUSH_SETTINGS, Config, PushConfig, mask_password
from treadle.counting import count_noun
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.singer.target import SingerTarget

FLUSH_SECONDS: Final = "5"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loaded",
        action="store_true",
        help="print a state when the records before it are loaded (default: when they are durable)",
    )
    parser.add_argument(
        "--flush-seconds",
        metavar="SECONDS",
        default=FLUSH_SECONDS,
        help=f"send what a tap printed so long ago at the latest (default: {FLUSH_SECONDS})",
    )


def run_singer(config: Config, arguments: Arguments) -> int:
    """Send what a tap prints, and print the states that are durable."""
    import asyncio

    push = PushConfig.read(collect_flags(arguments, PUSH_SETTINGS), warn=print_warning)
    seconds = _parse_seconds(arguments.flush_seconds)
    target = find_target(config, push)
    begun = time.monotonic()
    try:
        with show_waiting() as report:
            sent = asyncio.run(
                _send(config, push, target, seconds, loaded=arguments.loaded, report=report)
            )
    except KeyboardInterrupt:
        return 130
    done = "are loaded" if arguments.loaded else "are accepted"
    if sent.records == 1:
        done = done.replace("are", "is")
    print_error(
        f"{count_noun(sent.records, 'record')} of {count_noun(sent.streams, 'stream')} {done}, "
        f"after {time.monotonic() - begun:.1f} s."
    )
    if not sent.outcome.rejected:
        return 0
    print_error(
        f"{count_noun(sent.outcome.rejected, 'record')} of them could not be stored, the first "
        f"because: {sent.outcome.reason}. `treadle rejects list` shows all."
    )
    return 1


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise OperatorError(f"--flush-seconds is to be a number from 0 to 86,400, not {text!r}.")
    return seconds


async def _send(
    config: Config,
    push: PushConfig,
    target: PushTarget,
    flush_seconds: float,
    *,
    loaded: bool,
    report: Callable[[str | None], None],
) -> "SingerTarget":
    from treadle.client.connection import PushAddress, open_http
    from treadle.client.read_ahead import read_ahead
    from treadle.client.request_retry import RequestRetry
    from treadle.singer.target import FOLLOWERS, SingerTarget, TargetOptions, read_lines

    address = PushAddress(target.url, target.token, target.socket, push.ca)
    retry = RequestRetry(mask_password(target.url), push.retry_seconds, report)
    async with open_http(address, push.connections + FOLLOWERS) as client:
        sender = SingerTarget(
            client,
            retry,
            TargetOptions(push.batch_records, push.connections, flush_seconds, loaded),
            run_id=uuid.uuid4().hex,
            first_sequence=time.time_ns(),
            emit=print_state,
            explain=lambda: find_trouble(config, target),
        )
        with open_input(STANDARD_INPUT) as stream:
            await sender.run(read_ahead(read_lines(stream), 4))
    return sender


def print_state(state: bytes) -> None:
    """Print a state at once.

    Raises:
        OperatorError: standard output does not take it.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        print_raw_json(state)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperatorError(
            f"A state cannot be written to standard output: {error.strerror or error}; make room "
            "there, and run the tap again with the last state that was printed. No record is lost."
        ) from error


COMMAND = CliCommand(
    words=("singer",),
    help="send what a Singer tap prints, and print the states that are durable",
    run=run_singer,
    arguments=_arguments,
    settings=("host", "port"),
    push=True,
    helps=ADDRESS_HELPS,
)
