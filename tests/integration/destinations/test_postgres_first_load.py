"""The first load of a table in PostgreSQL: triggers, and two loaders at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import psycopg
import pytest

from treadle.destinations.conformance.builders import LOG, TableLoads
from treadle.destinations.conformance.first_load import first
from treadle.destinations.layout import digest_name, encode_result
from treadle.destinations.protocol import CommittedOffset, LoadResult, PlanOutdatedError
from treadle.destinations.registry import make_destination


def test_rows_that_a_trigger_keeps_out_are_not_counted(postgres_database: str) -> None:
    """Tools that audit a database give each new table a trigger."""
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        with psycopg.connect(postgres_database, autocommit=True) as operator:
            operator.execute(
                """
                CREATE FUNCTION web.keep_out() RETURNS trigger LANGUAGE plpgsql AS
                  $$ BEGIN RETURN CASE WHEN NEW.id = 1 THEN NULL ELSE NEW END; END $$;
                CREATE FUNCTION web.watch() RETURNS event_trigger LANGUAGE plpgsql AS
                  $$ BEGIN
                    IF to_regclass('web.orders') IS NOT NULL THEN
                      CREATE OR REPLACE TRIGGER keep_out BEFORE INSERT ON web.orders
                        FOR EACH ROW EXECUTE FUNCTION web.keep_out();
                    END IF;
                  END $$;
                CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
                  EXECUTE FUNCTION web.watch()
                """
            )
        loads = TableLoads(session)
        result = loads.run(first(loads))
        assert result.rows["orders"] == 1
        assert session.committed(LOG)[7, "orders"] == CommittedOffset(0, "r", result)
        assert loads.orders() == [(2, "y", 1)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_of_two_loaders_that_begin_a_table_at_once_one_does(
    postgres_database: str, end: Literal["COMMIT", "ROLLBACK"]
) -> None:
    """One that was thought dead, and its successor: the second waits for what becomes of the first.

    Where the first commits, the second is told that its plan does not follow; where not, it loads.
    """
    with (
        make_destination(postgres_database).open() as session,
        psycopg.connect(postgres_database, autocommit=True) as connection,
        psycopg.connect(postgres_database, autocommit=True) as watching,
        ThreadPoolExecutor(1) as pool,
    ):
        session.prepare("web")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE web.orders (id bigint, a text, _sdc_sequence bigint)")
        connection.execute(
            "INSERT INTO _treadle.positions VALUES (%s, 7, %s, 'orders', 0, 1, '', %s)",
            [LOG, digest_name("orders"), encode_result(LoadResult({"orders": 0}, {}))],
        )
        second = first(TableLoads(session, fence=2))
        doing = pool.submit(session.load, second)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while watching.execute(waits).fetchone() != (1,) and not doing.done():
            pass
        assert not doing.done()
        connection.execute(end)
        if end == "COMMIT":
            with pytest.raises(PlanOutdatedError, match="follows position -1 and ends at 0"):
                doing.result()
            assert session.committed(LOG)[7, "orders"].result.rows == {"orders": 0}
        else:
            assert doing.result().rows["orders"] == 2
        assert len(TableLoads(session).orders()) == (0 if end == "COMMIT" else 2)
