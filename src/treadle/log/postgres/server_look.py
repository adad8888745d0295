"""Looks at the server of a database: which one takes writes, its standbys, and its logs."""

from contextlib import closing
from typing import Final

import psycopg
from psycopg import Connection

from treadle.log.database_look import DatabaseLook, StandbyLook
from treadle.log.postgres import schema
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    make_member,
    make_parameters,
    translate_errors,
)

_SERVER: Final = """
    SELECT current_setting('server_version'), current_setting('synchronous_standby_names')
    """
_STANDBYS: Final = """
    SELECT
        coalesce(application_name, ''), coalesce(host(client_addr), ''), state, sync_state,
        pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint
    FROM pg_stat_replication ORDER BY application_name, client_addr
    """
_POSITIONS: Final = "SELECT log_id, last FROM treadle_log.logs"


def look_at_database(url: str) -> DatabaseLook:
    """Ask the server of a database that takes writes now.

    Raises:
        OperatorError: it refuses.
        RetriableError: no server of it takes writes, or can be reached.
    """
    parameters = make_parameters(url, make_member())
    with translate_errors(), closing(connect_reader(parameters)) as connection:
        version, names = _fetch(connection, _SERVER)[0]
        try:
            rows = _fetch(connection, _STANDBYS)
            shows = True
        except psycopg.errors.Error as error:  # such as Aurora, which has no such function
            if error.sqlstate is None:
                raise
            rows, shows = [], False
        # Who may not see the others' sessions finds their rows with nothing in them.
        shows = shows and all(row[3] is not None for row in rows)
        has_logs = _fetch(connection, schema.HAS_SCHEMA)[0][0]
        rows_of_logs = _fetch(connection, _POSITIONS) if has_logs else []
        positions = {str(log_id): int(last) for log_id, last in rows_of_logs}
        return DatabaseLook(
            connection.info.host,
            connection.info.port,
            str(version).split(" ", 1)[0],
            str(names),
            tuple(StandbyLook(*row) for row in rows) if shows else (),
            shows,
            positions,
        )


def _fetch(connection: Connection[Row], statement: str) -> list[Row]:
    return connection.execute(statement.encode()).fetchall()
