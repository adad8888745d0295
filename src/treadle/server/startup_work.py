"""What a server does before its children start and when they are ready (see startup_process)."""

import logging
import os

from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.server.announcement import announce_server, note_address
from treadle.server.cluster_rules import make_file_rule
from treadle.server.listener import ServerListener
from treadle.server.startup import (
    FirstAccount,
    check_logs_at_start,
    find_risks,
    repair_log_at_start,
    set_up_store,
)
from treadle.waiting_rows import remove_whole_rows

logger = logging.getLogger("treadle.server")


class ServerStartup:
    """Prepares the data folder of a server, and announces the server."""

    def __init__(self, config: Config, listener: ServerListener, *, to_person: bool) -> None:
        """Do nothing yet.

        Args:
            config: the settings.
            listener: where the server listens.
            to_person: whether what is printed appears on a terminal.
        """
        self._config = config
        self._listener = listener
        self._to_person = to_person
        self._newcomer: FirstAccount | None = None

    def prepare(self) -> None:
        """Warn of risks, open the store and the log, make the first account, and note the address.

        Raises:
            TreadleError: a file of the data folder or a destination cannot be used.
        """
        make_file_rule(self._config)  # each loader makes its own, and could only end
        for warning in find_risks(self._config, os.geteuid()):
            logger.warning("%s", warning)
        self._newcomer = set_up_store(self._config)
        repair_log_at_start(self._config)
        if not (self._config.in_cluster and MemberRole.CONTROL in self._config.roles):
            remove_whole_rows(self._config.counters_path)  # of an earlier start with other roles
        if self._config.store is not None or self._config.log is not None:
            check_logs_at_start(self._config)
        note_address(self._config, self._listener, os.getppid())

    def announce(self) -> None:
        """Print the server's address and, for a new data folder, the first account."""
        announce_server(self._config, self._listener, self._newcomer, to_person=self._to_person)
