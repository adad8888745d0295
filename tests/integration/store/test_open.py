import errno
import multiprocessing
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, TextClause, inspect, text
from tests.loads import load

import treadle.store
from treadle.clock import read_system_clock
from treadle.errors import OperatorError, RetriableError
from treadle.sqlite_snapshot import SqliteSnapshot
from treadle.store.database import begin_write, create_store_engine, translate_errors
from treadle.store.errors import MissingStoreError
from treadle.store.migration import (
    HEAD_REVISION,
    choose_old_copies,
    migrate_schema,
    run_migrations,
)
from treadle.store.model import EntryOutcome, RecordRejection, Source, StoredLog
from treadle.store.rejects import RejectQuery
from treadle.store.schema import metadata
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.text import digest_text
from treadle.tracking.rejects import RejectFilter, list_rejects

OpenStore = Callable[[], Store]

KEY = bytes(32)


@pytest.fixture
def store_url(empty_url: str) -> str:
    """Here stores are made and migrated."""
    return empty_url


def describe_schema(connection: Connection) -> dict[str, Any]:
    """Table -> what the database knows of it, but the order of its columns."""
    inspector = inspect(connection)
    indexes = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        indexes = "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''"
    found: dict[str, Any] = {}
    for table in inspector.get_table_names():
        found[table] = {
            "columns": {
                column["name"]: {name: str(value) for name, value in column.items()}
                for column in inspector.get_columns(table)
            },
            "key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(inspector.get_foreign_keys(table), key=repr),
            "unique": sorted(inspector.get_unique_constraints(table), key=repr),
            "checks": sorted(inspector.get_check_constraints(table), key=repr),
            "gives numbers once": sqlite
            and "AUTOINCREMENT"
            in connection.execute(
                text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table}
            ).scalar_one(),
        }
    for table, statement in connection.execute(text(indexes)):
        found[table].setdefault("indexes", set()).add(statement)
    return found


def test_the_migrated_schema_is_the_one_in_use(store_url: str) -> None:
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        run_migrations(connection, None)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD_REVISION
    engine.dispose()


def test_a_new_store_has_the_schema_of_a_migrated_one(store_url: str) -> None:
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        run_migrations(connection, None)
    with engine.connect() as connection:
        migrated = describe_schema(connection)
    with begin_write(engine) as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    engine.dispose()
    Store.open(store_url, SecretCipher(KEY)).close()
    with engine.connect() as connection:
        assert describe_schema(connection) == migrated
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == HEAD_REVISION
    engine.dispose()
    assert migrated.keys() == {*metadata.tables, "alembic_version"}


def test_the_head_is_the_newest_migration() -> None:
    folder = Path(str(treadle.store.__file__)).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD_REVISION


def make_earlier_store(url: str, revision: str, *statements: str | TextClause) -> None:
    """Make the store of an earlier release, with some rows."""
    engine = create_store_engine(url)
    with begin_write(engine) as connection:
        config = Config()
        folder = Path(str(treadle.store.__file__)).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)
    engine.dispose()


ONE_SOURCE = (
    "INSERT INTO accounts (id, name, created_at) VALUES (7, 'a', 1)",
    "INSERT INTO connections (id, kind) VALUES (1, 'destination'), (2, 'source')",
    (
        "INSERT INTO sources (id, account_id, type, display_name, name, created_at, updated_at, "
        "settings) VALUES (2, 7, 'import_api', 's', 's', 1, 1, '{}')"
    ),
)


def test_the_log_of_an_earlier_release_is_the_first_of_several(store_url: str) -> None:
    key_check = SecretCipher(KEY).check_value
    make_earlier_store(
        store_url,
        "0026",
        *ONE_SOURCE,
        "INSERT INTO meta (id, installation_id, key_check, revision, log_id) VALUES "
        f"(1, 'installed', '{key_check}', 5, 'log')",
        text(
            "INSERT INTO tables (id, source_id, name, name_sha256, log_id, loaded, stopped) VALUES "
            "(5, 2, 'orders', :digest, 'log', 9, false), (6, 2, 'old', :old, 'before', 9, false)"
        ).bindparams(digest=digest_text("orders"), old=digest_text("old")),
    )
    store = Store.open(store_url, SecretCipher(KEY))
    assert store.logs.list_logs() == [StoredLog(0, "log", "sqlite", "", "open")]
    assert (store.get_log_id(), store.get_log_id(1)) == ("log", None)
    [source] = store.sources.list_sources()
    assert (source.log, store.logs.get_number(2), store.logs.get_number(99)) == (0, 0, 0)
    loaded = {one.table_name: one.loaded for one in store.tables.list_statuses()}
    assert loaded == {"orders": 9, "old": 0}
    secret = "postgresql://user:password@host/logs"
    added = store.logs.add_log("second", "postgresql", secret)
    assert added == StoredLog(1, "second", "postgresql", secret, "open")
    assert store.logs.list_logs()[1] == added
    assert "password" not in repr(added)
    with pytest.raises(OperatorError, match="the store knows no log 2"):
        store.use_log("third", 2)
    store.use_log("another", 1)
    assert store.get_log_id(1) == "another"
    store.close()


def test_new_sources_are_shared_out_among_the_logs(store_url: str) -> None:
    store = Store.open(store_url, SecretCipher(KEY))
    account, _ = store.accounts.create_account("a")

    def create(name: str) -> Source:
        return store.sources.create_source(
            account.id, type="import_api", display_name=name, name=name, bootstrap_token=True
        )

    assert [create(f"s{n}").log for n in range(2)] == [0, 0]
    store.use_log("first")
    store.logs.add_log("second", "sqlite")
    made = [create(f"s{n}") for n in range(2, 6)]
    assert [one.log for one in made] == [1, 1, 0, 1]
    store.sources.delete_source(account.id, made[0].id)
    assert create("s6").log == 1
    owners = store.tokens.list_senders().values()
    assert {one.source_id: one.log for one in owners}[made[1].id] == 1
    with begin_write(create_store_engine(store_url)) as connection:
        connection.execute(text("UPDATE logs SET state = 'closed'"))
    with pytest.raises(OperatorError, match="no log takes new sources"):
        create("s7")
    store.close()


def test_rejected_records_of_an_earlier_release_are_counted(store_url: str) -> None:
    columns = "number, id, log_id, table_id, first, last, started_at, finished_at, rows_received, "
    columns += "rows_loaded, rows_discarded, rows_rejected, tables, details, error"
    why = '[[0, "why"], [3, "why not"]]'
    make_earlier_store(
        store_url,
        "0018",
        *ONE_SOURCE,
        text(
            "INSERT INTO tables (id, source_id, name, name_sha256, log_id, loaded, stopped) VALUES "
            "(5, 2, 'orders', :digest, 'log', 9, false)"
        ).bindparams(digest=digest_text("orders")),
        *(
            f"INSERT INTO loads ({columns}) VALUES ({at}, 'load {at}', 'log', 5, {at}, {at}, "
            f"{at * 10}, {at * 10}, 1, 1, 0, 0, '{{}}', '{{}}', NULL)"
            for at in (5, 7, 9)
        ),
        "INSERT INTO outcomes (log_id, position, table_id, superseded, rejected) VALUES "
        f"('log', 5, 5, 0, '{why}'), ('log', 7, 5, 0, '{why}'), ('log', 9, 5, 2, '[]')",
    )
    store = Store.open(store_url, SecretCipher(KEY))
    store.use_log("log")
    [cause] = store.rejects.list_causes(RejectQuery())
    assert (cause.code, cause.field, cause.records, cause.resent) == ("unknown", None, 4, 0)
    assert (cause.first_at, cause.last_at, cause.example) == (50, 70, "why not")
    assert (cause.example_position, cause.example_index) == (7, 3)
    found = list(list_rejects(store, RejectFilter()))
    assert [(one.id, one.reason) for one in found] == [
        ("7.3", "why not"),
        ("7.0", "why"),
        ("5.3", "why not"),
        ("5.0", "why"),
    ]
    outcome = EntryOutcome(11, 2, "orders", 0, (RecordRejection(0, "later"),))
    store.loads.record_load(load(2, "orders", 11, 110), [outcome])
    [cause] = store.rejects.list_causes(RejectQuery())
    assert (cause.records, cause.last_at) == (5, 110)
    store.close()


def test_destinations_of_a_store_without_checks_go_on_being_loaded_into(store_url: str) -> None:
    row = "INSERT INTO destinations (id, account_id, type, name, url, identity, created_at, "
    row += "updated_at) VALUES (1, 7, 'duckdb', 'x', '', 'x', 123, 456)"
    make_earlier_store(store_url, "0016", *ONE_SOURCE, row)
    engine = create_store_engine(store_url)
    migrate_schema(engine)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT usable_since FROM destinations")).scalar_one()
    engine.dispose()
    assert found == 123


def test_loads_of_an_earlier_release_are_listed_with_what_they_changed(store_url: str) -> None:
    columns = "number, id, log_id, table_id, first, last, started_at, finished_at, rows_received, "
    columns += "rows_loaded, rows_discarded, rows_rejected, tables, details, error"
    added = '{"columns_added": [["t", "a"], ["t", "b"]], "columns_renamed": [["t", "c", "d"]]}'
    make_earlier_store(
        store_url,
        "0018",
        *ONE_SOURCE,
        "INSERT INTO tables (id, source_id, name, name_sha256, log_id, loaded, stopped) VALUES "
        "(5, 2, 't', 'x', '', 3, false)",
        f"INSERT INTO loads ({columns}) VALUES "
        f"(1, 'one', '', 5, 1, 1, 1, 10, 1, 1, 0, 0, '{{}}', '{added}', NULL), "
        "(2, 'two', '', 5, 2, 2, 2, 20, 1, 0, 0, 0, '{}', '{}', 'no')",
    )
    engine = create_store_engine(store_url)
    migrate_schema(engine)
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT account_id, source_id, schema_changes FROM loads ORDER BY number")
        )
        assert [tuple(row) for row in found] == [(7, 2, 3), (7, 2, 0)]
    engine.dispose()


def test_a_store_of_an_unreleased_form_of_a_migration_is_refused_and_left(store_url: str) -> None:
    dropped = "ALTER TABLE accounts DROP COLUMN deleted_at"
    make_earlier_store(store_url, "0026", *ONE_SOURCE, dropped)
    said = r"schema is 0026, and .* accounts\.deleted_at when .*this one has not, .* before that"
    for _ in range(2):
        with pytest.raises(OperatorError, match=said):
            Store.open(store_url, SecretCipher(KEY))
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("ALTER TABLE accounts ADD COLUMN deleted_at BIGINT"))
    engine.dispose()
    assert found == "0026"
    store = Store.open(store_url, SecretCipher(KEY))
    assert [one.name for one in store.accounts.list_accounts()] == ["a"]
    store.close()


def test_the_unused_column_of_a_log_is_neither_read_nor_written(store_url: str) -> None:
    Store.open(store_url, SecretCipher(KEY)).close()
    engine = create_store_engine(store_url)
    with begin_write(engine) as connection:
        connection.execute(text("ALTER TABLE meta DROP COLUMN log_id"))
        connection.execute(text("DELETE FROM meta"))
    engine.dispose()
    store = Store.open(store_url, SecretCipher(KEY))  # the row is made anew
    store.use_log("first")
    assert store.get_log_id() == "first"
    store.accounts.create_account("a")
    store.close()


def test_an_installation_keeps_its_id(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    assert len(first.installation_id) == 36
    assert second.installation_id == first.installation_id
    assert second.get_revision() == first.get_revision()


def test_another_key_is_refused_at_open(store_url: str) -> None:
    Store.open(store_url, SecretCipher(KEY)).close()
    with pytest.raises(OperatorError, match="bring back the old key file"):
        Store.open(store_url, SecretCipher(b"x" * 32))
    Store.open(store_url, SecretCipher(KEY)).close()


def make_newer_store(url: str, *statements: str) -> None:
    """Make the store of a release that this one knows nothing of."""
    Store.open(url, SecretCipher(KEY)).close()
    engine = create_store_engine(url)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE meta SET least_version = '9998'",
        "ALTER TABLE meta DROP COLUMN least_version",  # as no release after it makes one
        "DELETE FROM meta",
    ],
)
def test_a_store_of_a_newer_treadle_is_refused(store_url: str, change: str) -> None:
    make_newer_store(store_url, change)
    with pytest.raises(OperatorError, match=r"made by a newer treadle \(its schema is 9999"):
        Store.open(store_url, SecretCipher(KEY))


def test_a_store_of_a_newer_treadle_that_allows_this_one_is_used_as_it_is(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "treadle.store")
    make_newer_store(store_url, "ALTER TABLE accounts ADD COLUMN later TEXT")
    store = Store.open(store_url, SecretCipher(KEY))
    account, _ = store.accounts.create_account("a")
    assert [one.id for one in store.accounts.list_accounts()] == [account.id]
    store.close()
    [line] = [one.getMessage() for one in caplog.records]
    assert line.startswith("the store was migrated by a newer treadle to revision 9999, and allows")
    engine = create_store_engine(store_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    engine.dispose()
    assert found == "9999"


def _open(url: str, start: Barrier, answers: Any) -> None:
    start.wait()
    store = Store.open(url, SecretCipher(KEY))
    account, _ = store.accounts.create_account("one of several")
    answers.put((store.installation_id, account.id))
    store.close()


def test_processes_that_start_together_find_one_store(store_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(3), spawn.Queue()
    processes = [spawn.Process(target=_open, args=(store_url, start, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=180) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({installation for installation, _ in found}) == 1
    assert sorted(account for _, account in found) == [1, 2, 3]


def test_no_secret_is_kept_in_clear(store_url: str, open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    account, account_token = store.accounts.create_account("a")
    source = store.sources.create_source(
        account.id, type="import_api", display_name="x", name="x", bootstrap_token=True
    )
    tokens = [store.tokens.create_token(account.id, source.id).secret]
    tokens += [token.secret for token in store.tokens.list_tokens(source.id)]
    store.destinations.set_default_destination(
        account.id, "postgres", "postgresql://u:pa55word@h/d", "h d"
    )
    store.close()
    kept = b""
    if store_url.startswith("sqlite"):
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    else:
        engine = create_store_engine(store_url)
        with engine.connect() as connection:
            for table in metadata.tables:
                rows = connection.execute(text(f'SELECT t::text FROM "{table}" AS t'))
                kept += "\n".join(row[0] for row in rows).encode()
        engine.dispose()
    assert b"import_api" in kept
    for secret in [account_token, *tokens, "pa55word"]:
        assert secret is not None
        for form in (secret.encode(), secret.encode().hex().encode()):
            assert form not in kept


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(KEY))
    store.accounts.create_account("a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes.keys() == {"store.db", "store.db-wal", "store.db-shm"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


@pytest.mark.parametrize(
    "url", ["", "store.db", "mysql://h/d", "oracle+nothing://", "sqlite://", "sqlite:///:memory:"]
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(OperatorError, match="expected sqlite:///path"):
        Store.open(url, SecretCipher(KEY))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"nowhere/store\.db cannot be made"):
        Store.open(f"sqlite:///{tmp_path}/nowhere/store.db", SecretCipher(KEY))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    with pytest.raises(OperatorError, match="check its file"):
        Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(KEY))


def test_a_store_that_is_locked_too_long_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.store.database.BUSY_TIMEOUT_MS", 100)
    store = Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(KEY))
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RetriableError, match="database is locked"):
        store.accounts.create_account("a")
    assert store.accounts.list_accounts() == []  # readers go on
    other.execute("ROLLBACK")
    other.close()
    store.accounts.create_account("a")
    store.close()


def test_a_server_that_does_not_answer_is_not_available(postgres_database: str) -> None:
    gone = (
        create_store_engine(postgres_database).url.set(port=1).render_as_string(hide_password=False)
    )
    with pytest.raises(RetriableError, match="not available") as caught:
        Store.open(gone.replace("@", ":pa55word@", 1), SecretCipher(KEY))
    assert "pa55word" not in str(caught.value)


def test_a_store_that_nobody_made_is_refused(postgres_database: str) -> None:
    assert not Store.is_made(postgres_database)
    with pytest.raises(MissingStoreError, match=r"no store in postgresql://.*`treadle init`") as no:
        Store.open(postgres_database, SecretCipher(KEY), make=False)
    secret = psycopg.conninfo.conninfo_to_dict(postgres_database)["password"]
    assert str(secret) not in str(no.value)
    assert not Store.is_made(postgres_database)
    Store.open(postgres_database, SecretCipher(KEY)).close()
    assert Store.is_made(postgres_database)
    Store.open(postgres_database, SecretCipher(KEY), make=False).close()


def test_a_wrong_password_is_the_operators_to_correct(postgres_database: str) -> None:
    place = create_store_engine(postgres_database).url.set(password="another")
    with pytest.raises(OperatorError, match="password authentication failed"):
        Store.open(place.render_as_string(hide_password=False), SecretCipher(KEY))


@pytest.mark.parametrize(("asked", "found"), [("off", "on"), ("remote_apply", "remote_apply")])
def test_a_session_waits_for_standbys_whatever_the_database_says(
    postgres_database: str, asked: str, found: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        change = psycopg.sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}")
        connection.execute(change.format(name, psycopg.sql.Literal(asked)))
    engine = create_store_engine(postgres_database)
    with engine.connect() as connection:
        shown = connection.execute(text("SHOW synchronous_commit")).scalar_one()
        timeout = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    engine.dispose()
    assert (shown, timeout) == (found, "3s")


def test_a_commit_that_did_not_wait_counts_as_not_done(postgres_database: str) -> None:
    engine = create_store_engine(postgres_database)
    warn = "DO $$ BEGIN RAISE WARNING 'canceling wait' USING ERRCODE = '01000'; END $$"
    with (
        pytest.raises(RetriableError, match="did not wait for its standby"),
        begin_write(engine) as connection,
    ):
        connection.execute(text(warn))
    with begin_write(engine) as connection:  # the next one is another
        connection.execute(text("SELECT 1"))
    engine.dispose()


def test_a_server_that_became_a_standby_is_left(postgres_database: str) -> None:
    store = Store.open(postgres_database, SecretCipher(KEY))
    with store._database.engine.connect() as connection:  # the only one of its pool
        refuse = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
        connection.execute(text(refuse))
        connection.commit()
    with pytest.raises(RetriableError, match="read-only transaction"):
        store.accounts.create_account("a")
    store.accounts.create_account("a")
    store.close()


def test_no_more_connections_are_open_than_allowed(postgres_database: str) -> None:
    engine = create_store_engine(postgres_database, 2)
    engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    with (
        engine.connect(),
        engine.connect(),
        pytest.raises(RetriableError, match="no free connection"),
        translate_errors(),
        engine.connect(),
    ):
        pass
    engine.dispose()


def test_the_server_tells_its_time_and_what_it_promises(postgres_database: str) -> None:
    store = Store.open(postgres_database, SecretCipher(KEY))
    here, there = read_system_clock(), store.read_time()
    assert there is not None
    assert abs(there - here) < 60_000_000
    durability = store.read_durability()
    assert durability is not None
    assert (durability.fsync, durability.standbys, durability.present) == (False, "", 0)
    store.close()


def test_a_file_has_neither(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(KEY))
    assert (store.read_time(), store.read_durability()) == (None, None)
    store.close()


def test_a_log_that_is_lost_is_forgotten(open_store: OpenStore) -> None:
    store = open_store()
    store.use_log("lost")
    store.forget_log()
    assert store.get_log_id() is None
    [event] = store.trail.list_events()
    assert event.action == "replace_log"
    store.use_log("new")
    assert store.get_log_id() == "new"


def test_a_missing_database_is_the_operators_to_make(postgres_database: str) -> None:
    gone = create_store_engine(postgres_database).url.set(database="nowhere")
    with pytest.raises((OperatorError, RetriableError), match="nowhere"):
        Store.open(gone.render_as_string(hide_password=False), SecretCipher(KEY))


def test_a_user_without_rights_is_told(postgres_database: str) -> None:
    Store.open(postgres_database, SecretCipher(KEY)).close()
    engine = create_store_engine(postgres_database)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("CREATE ROLE weak LOGIN PASSWORD 'pa55word'"))
        connection.execute(text("GRANT SELECT ON alembic_version TO weak"))
    weak = engine.url.set(username="weak", password="pa55word").render_as_string(
        hide_password=False
    )
    try:
        with pytest.raises(OperatorError, match="rights of its database user"):
            Store.open(weak, SecretCipher(KEY))
    finally:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("DROP OWNED BY weak"))
            connection.execute(text("DROP ROLE weak"))
        engine.dispose()


def test_an_older_store_is_copied_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite"
    make_earlier_store(f"sqlite:///{path}", "0024", *ONE_SOURCE)
    before = describe_file(path)
    caplog.set_level("INFO", "treadle.store")
    store = Store.open(f"sqlite:///{path}", SecretCipher(KEY))
    [source] = store.sources.list_sources()
    assert source.name == "s"
    store.loads.record_load(load(source.id, "orders", 1), [])
    store.close()
    copy = path.with_name(f"store.sqlite.before-{HEAD_REVISION}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert describe_file(copy) == before
    [line] = [one.getMessage() for one in caplog.records]
    assert f"migrated from revision 0024 to {HEAD_REVISION} in " in line
    assert line.endswith(f"it is kept in {copy}")
    # Nothing is copied at the next start, and the copy is a store that can be opened.
    changed = copy.stat().st_mtime_ns
    Store.open(f"sqlite:///{path}", SecretCipher(KEY)).close()
    assert copy.stat().st_mtime_ns == changed
    Store.open(f"sqlite:///{copy}", SecretCipher(KEY)).close()


def describe_file(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        found: list[tuple[object, ...]] = schema.fetchall()
        found += connection.execute("SELECT * FROM sources").fetchall()
        found += connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return found


def test_a_store_that_cannot_be_copied_is_not_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    make_earlier_store(f"sqlite:///{path}", "0024", *ONE_SOURCE)

    def refuse(self: SqliteSnapshot, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SqliteSnapshot, "copy", refuse)
    with pytest.raises(OperatorError, match=r"cannot be copied before \(No space left on device\)"):
        Store.open(f"sqlite:///{path}", SecretCipher(KEY))
    assert ("0024",) in describe_file(path)
    monkeypatch.undo()
    Store.open(f"sqlite:///{path}", SecretCipher(KEY)).close()


def test_the_last_copies_are_kept() -> None:
    names = [f"store.sqlite.before-{number:04d}" for number in (27, 8, 26, 30, 31)]
    others = [
        "store.sqlite",
        "store.sqlite-wal",
        "store.sqlite.before-mine",
        "log.sqlite.before-0001",
    ]
    assert choose_old_copies("store.sqlite", [*names, *others]) == [
        "store.sqlite.before-0008",
        "store.sqlite.before-0026",
    ]
    assert choose_old_copies("store.sqlite", others) == []
