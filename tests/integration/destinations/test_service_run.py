"""The suite over a database that is reached by a URL, as the owner of an account runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest


def run_command(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    file = folder / "url.txt"
    file.write_text(url)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "treadle.destinations.conformance",
            "--url-file",
            os.fspath(file),
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )


def list_schemas(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace")}


@pytest.mark.release
def test_a_run_over_an_empty_database_writes_a_proof_and_leaves_nothing(
    tmp_path: Path, postgres_database: str
) -> None:
    before = list_schemas(postgres_database)
    done = run_command(tmp_path, postgres_database)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["type"] == "postgres"
    assert proof["passed"] > 100
    assert proof["service"].startswith("PostgreSQL ")
    assert list_schemas(postgres_database) == before


def test_a_part_of_the_suite_leaves_nothing_and_is_no_proof(
    tmp_path: Path, postgres_database: str
) -> None:
    before = list_schemas(postgres_database)
    done = run_command(tmp_path, postgres_database, "--", "-k", "batch_and_by_key")
    assert "1 passed, 0 skipped, 0 failed" in done.stdout, done.stdout + done.stderr
    assert "were left out, so this is no proof." in done.stdout
    assert done.returncode == 1
    assert not (tmp_path / "proof.json").exists()
    assert list_schemas(postgres_database) == before


def test_a_test_that_fails_is_named_and_nothing_is_proven(
    tmp_path: Path, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        # A database that refuses what the suite does.
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no tables here'; END $$"
        )
        connection.execute(
            "CREATE EVENT TRIGGER refusing ON ddl_command_start WHEN TAG IN ('CREATE TABLE') "
            "EXECUTE FUNCTION refuse()"
        )
    done = run_command(tmp_path, postgres_database, "--", "-k", "batch_and_by_key")
    assert done.returncode == 1
    assert "failed: " in done.stdout
    assert "0 passed, 0 skipped, 1 failed" in done.stdout
    assert not (tmp_path / "proof.json").exists()


def test_a_database_that_is_in_use_is_refused_and_left_alone(
    tmp_path: Path, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA web")
    done = run_command(tmp_path, postgres_database)
    assert done.returncode == 2
    assert "The database is not empty: it has the schemas web." in done.stderr
    assert "web" in list_schemas(postgres_database)
