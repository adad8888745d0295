"""The progress bar of a push."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from treadle.cli.output import print_error
from treadle.counting import count_noun
from treadle.text import escape_unprintable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class ProgressDisplay(Protocol):
    """Shows the progress of a push."""

    def advance(self, records: int, read: int) -> None:
        """Show that the first `records` records are pushed, up to byte `read` of the file."""

    def show_waiting(self, trouble: str | None) -> None:
        """Show that the push waits because of `trouble`; None if it goes on."""


class SilentDisplay:
    """Shows no progress; prints why the push waits, once for each time it waits."""

    def __init__(self) -> None:
        self._told = False

    def advance(self, records: int, read: int) -> None:
        """Show nothing."""

    def show_waiting(self, trouble: str | None) -> None:
        """Print on standard error that the push waits."""
        if trouble is not None and not self._told:
            print_error(f"Waiting, as {trouble}.")
        self._told = trouble is not None


@contextmanager
def show_waiting() -> Iterator[Callable[[str | None], None]]:
    """Show what is waited for, on one line of a terminal.

    Elsewhere a line is printed each time the reason changes, which is the text behind the number.
    """
    if not sys.stderr.isatty():
        told: list[str | None] = [None]

        def print_change(text: str | None) -> None:
            reason = None if text is None else text.partition(" ")[2]
            if reason is not None and reason != told[0]:
                print_error(f"{text}.")
            told[0] = reason

        yield print_change
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TimeElapsedColumn(), TextColumn("{task.fields[trouble]}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("wait", trouble="waiting until all records are loaded")

        def show_text(text: str | None) -> None:
            shown = escape_unprintable(text) if text else ""
            progress.update(task, trouble=shown, refresh=True)

        yield show_text


@contextmanager
def show_progress(size: int | None, begun: int) -> Iterator[ProgressDisplay]:
    """Show a bar with rate and time left; without a terminal, a `SilentDisplay`.

    Args:
        size: of the file in bytes; None if it is not known.
        begun: records that an earlier run pushed.
    """
    if not sys.stderr.isatty():
        yield SilentDisplay()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[pushed]}"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[trouble]}", style="yellow", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        yield ProgressBar(progress, size, begun)


class ProgressBar:
    """The progress bar of `show_progress`."""

    def __init__(self, progress: "RichProgress", size: int | None, begun: int) -> None:
        self._progress = progress
        self._begun = begun
        self._task = progress.add_task(
            "push", total=size, pushed=count_noun(begun, "record"), rate=0.0, trouble=""
        )

    def advance(self, records: int, read: int) -> None:
        """Move the bar."""
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = (records - self._begun) / elapsed if elapsed else 0.0
        pushed = count_noun(records, "record")
        self._progress.update(self._task, completed=read, pushed=pushed, rate=rate)

    def show_waiting(self, trouble: str | None) -> None:
        """Show the trouble beside the bar at once, since the push waits now."""
        told = f"waiting: {escape_unprintable(trouble)}" if trouble else ""
        self._progress.update(self._task, trouble=told, refresh=True)
