"""Where the answers about the server itself come from, and who may see the whole of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, Request

from treadle.clock import read_clock
from treadle.errors import RequestRefusedError
from treadle.log.quota import LogLook, LogQuota
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.tracking.log_list import PlacedLog

ONE_OF_SEVERAL: Final = (
    "This is about the whole server, which has several accounts. Its operator sees it with "
    "`treadle doctor` and `treadle status`."
)


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting in force, as it may be shown.

    Attributes:
        value: "set" for a secret, URLs without their passwords; None for none.
        origin: "flag", "environment", "file" or "default".
        help: what it does, one line.
    """

    name: str
    value: str | int | float | bool | None
    origin: str
    help: str


@dataclass(frozen=True, slots=True)
class TraceFiles:
    """What the processes of a server leave for others to read, and the settings they have.

    Attributes:
        refusals: the folder with refused requests.
        series: the file with figures over time.
        counters: the folder with the counters.
        processes: the folder with the notes of processes.
        log_quota: the bounds of the log.
        settings: those in force.
        clock: microseconds since 1970.
        count_append_failures: returns how many groups of requests the log's disk did not take.
        examinations: the folder with the last examinations; None for none.
        problems: the file with the problems of the last days; None for none.
        look_at_log: returns how full the log is, and how old; None for none.
        shares_store: the store is on a server, so that other members may share the work. What is in
            these files is of one machine then.
        member: the name of this server among the members.
        list_logs: returns the logs, and where they are.
        takes_records: this server takes records itself; in a cluster only gates do.
    """

    refusals: Path
    series: Path
    counters: Path
    processes: Path
    log_quota: LogQuota = field(default_factory=LogQuota)
    settings: Sequence[ShownSetting] = ()
    clock: Callable[[], int] = read_clock
    count_append_failures: Callable[[], int] = lambda: 0
    examinations: Path | None = None
    problems: Path | None = None
    look_at_log: Callable[[], LogLook | None] = lambda: None
    shares_store: bool = False
    member: str = ""
    list_logs: Callable[[], Sequence[PlacedLog]] = tuple
    takes_records: bool = True

    @property
    def machine(self) -> str | None:
        """The name of the machine whose files these are; None where there can be no other."""
        return self.member if self.shares_store else None


def sees_installation(store: Store, account: Account) -> bool:
    """Return whether an account sees what belongs to the whole server.

    The only account of a server is the one of its operator. As soon as there are several, each
    sees its own, and the whole is seen on the command line.

    Args:
        store: knows the accounts.
        account: who asks.
    """
    return store.accounts.get_account_count() == 1


def require_installation(store: Store, account: Account) -> None:
    """Refuse an account that does not see what belongs to the whole server.

    Raises:
        RequestRefusedError: 403.
    """
    if not sees_installation(store, account):
        raise RequestRefusedError(403, {"message": ONE_OF_SEVERAL})


def _get_files(request: Request) -> TraceFiles:
    files: TraceFiles = request.app.state.traces
    return files


Traces = Annotated[TraceFiles, Depends(_get_files)]
