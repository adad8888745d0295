"""Imports go one way (architecture: rooms); a module may import only what lies below its room."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "treadle"

VALUES = {
    *("counting", "errors", "file_rights", "quotas", "smtp_url", "spreadsheet", "step_check"),
    "postgres_place",
    "text",
    "timestamps",
}
"""What every room may use: nothing there touches a file, a socket or a clock."""

RIM = VALUES | {"clock", "failpoint", "files", "load_locks", "sqlite_snapshot"}
"""What rooms may use that are not pure."""

DATA = RIM | {"log", "store", "destinations", "tables", "records"}

BELOW: dict[str, set[str]] = {
    "counting": set(),
    "errors": set(),
    "file_rights": set(),
    "postgres_place": {"errors"},
    "smtp_url": set(),
    "spreadsheet": set(),
    "step_check": set(),
    "quotas": {"errors"},
    "text": set(),
    "timestamps": set(),
    "clock": set(),
    "files": set(),
    "load_locks": {"errors", "files", "text"},
    "folder_move": {"errors", "files", "timestamps"},
    "failpoint": set(),
    "sqlite_snapshot": {"files"},
    "records": VALUES,
    "tables": VALUES | {"records"},
    "log": RIM,
    "store": RIM | {"tables"},
    "destinations": RIM | {"tables", "records"},
    "dbt_project": VALUES | {"tables"},
    "tracking": DATA | {"traces"},
    "traces": RIM | {"http", "shared_rows", "store"},
    "http": VALUES,
    "tasks": VALUES,
    "client": VALUES | {"config"},
    "record_files": VALUES | {"client"},
    "singer": VALUES | {"client"},
    "telemetry": set(),
    "ingest": DATA | {"tracking", "http", "shared_rows", "tasks", "waiting_rows"},
    "questions": VALUES | {"http", "tables"},
    "desk": DATA | {"tracking", "http", "questions", "tasks"},
    "loader": DATA | {"tracking", "shared_counters", "shared_rows", "traces", "waiting_rows"},
    "control": DATA
    | {"tracking", "http", "people", "questions", "shared_counters", "shared_rows", "traces"}
    | {"waiting_rows"},
    "courier": RIM | {"http", "log", "store", "tracking"},
    "console": DATA
    | {"tracking", "http", "control", "questions", "traces", "console_link", "people"},
    "people": RIM | {"store"},
    "console_link": set(),
    "maintenance": DATA
    | {"tracking", "traces", "certificate", "config", "data_lock", "folder_move"},
    "config": VALUES,
    "certificate": RIM,
    "guide": set(),
    "data_lock": RIM | {"server_address"},
    "server_address": RIM,
    "process_end": set(),
    "shared_counters": RIM,
    "shared_rows": RIM,
    "waiting_rows": RIM | {"log", "shared_rows"},
    "metrics": RIM | {"http", "log", "store"},
    "logging_setup": VALUES | {"config"},
}
"""Room -> rooms it may import. `server` and `cli` stand above all and may import anything."""

TOP = {"server", "cli", "__main__"}
BACK_ENDS = {
    "destinations": {
        "bigquery",
        "clickhouse",
        "duckdb",
        "files",
        "iceberg",
        "mysql",
        "postgres",
        "redshift",
        "snowflake",
    },
    "log": {"sqlite", "postgres"},
}
"""Siblings behind one contract: none imports another; only `server` and registries name them."""

INSIDE: dict[str, set[str]] = {
    "console": {"console.pages"},
    "console.pages": {"console"},
    "destinations": {"destinations.duckdb"},  # its registry
    "destinations.sql": {"destinations"},
    "destinations.duckdb": {"destinations", "destinations.sql"},
    "destinations.bigquery": {"destinations", "destinations.sql"},
    "destinations.clickhouse": {"destinations", "destinations.sql"},
    "destinations.files": {"destinations", "destinations.sql"},
    "destinations.iceberg": {"destinations", "destinations.sql"},
    "destinations.mysql": {"destinations", "destinations.sql"},
    "destinations.libpq": {"destinations", "destinations.sql"},
    "destinations.postgres": {"destinations", "destinations.libpq", "destinations.sql"},
    "destinations.redshift": {"destinations", "destinations.libpq", "destinations.sql"},
    "destinations.snowflake": {"destinations", "destinations.sql"},
    "destinations.conformance": {"destinations", "destinations.sql"},
    "ingest": {"ingest.fastpath"},
    "ingest.fastpath": {"ingest"},
    "log": {"log.sqlite"},  # its registry
    "log.postgres": {"log"},
    "log.sqlite": {"log"},
    "maintenance": set(),
    "maintenance.audit": set(),
    "maintenance.backup": set(),
    "maintenance.declaration": set(),
    "maintenance.doctor": set(),
    "records": {"records.transit", "records.validation"},
    "records.transit": {"records"},
    "records.validation": {"records"},
    "store": set(),
    "store.migrations": {"store"},
    "tables": set(),
    "tables.prepare": {"tables"},
    "tables.plan": {"tables", "tables.prepare"},
}
"""Folder in a room -> folders of the same room it may import; a room's name stands for the modules
that lie directly in it."""

REGISTRIES = {"destinations.registry", "log.registry", "log.remote_registry"}
"""The modules of a room that choose a back-end by the settings."""

PURE: dict[str, set[str]] = {
    "console.day_view": {"console", "store"},
    "console.edit_lines": set(),
    "console.guess_limit": {"http"},
    "console.plot": set(),
    "console.row_grid": {"console", "questions"},
    "console.series_view": {"console"},
    "console.snippets": set(),
    "console.table_choice": {"store", "tracking"},
    "console.table_remedies": {"tables"},
    "console.view": {"store", "tracking"},
    "courier.mail_text": {"courier", "store", "tracking"},
    "courier.notice_decisions": {"courier", "store", "tracking"},
    "log.postgres.grouping": {"log"},
    "log.postgres.outcome": set(),
    "log.postgres.segment_choice": {"log"},
    "log.slots": set(),
    "maintenance.audit.differences": set(),
    "people.devices": set(),
    "people.passwords": set(),
    "people.rules": {"store"},
    "maintenance.backup.manifest": set(),
    "maintenance.declaration.document": {"maintenance"},
    "maintenance.declaration.model": set(),
    "maintenance.declaration.plan": {"maintenance"},
    "maintenance.doctor.findings": {"config", "destinations", "tables"},
    "server.supervisor": set(),
    "tracking.problem_kinds": set(),
    "telemetry.span": set(),
    "traces.fair_places": {"traces"},
    "traces.refusal_lines": {"traces"},
    "traces.refusals": set(),
    "traces.series_layout": set(),
}
"""Modules that ask nothing of other rooms -> rooms they may import. They judge values, or, as the
supervisor, they know nothing of what they keep running."""


@functools.cache
def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")


@functools.cache
def imported(path: Path) -> set[str]:
    """Dotted names below `treadle` that a module imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            if node.module and node.module.split(".")[0] == "treadle":
                base = node.module.removeprefix("treadle").lstrip(".")
                names |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {
                alias.name.removeprefix("treadle.")
                for alias in node.names
                if alias.name.startswith("treadle.")
            }
    return {name for name in names if name != "__version__"}


def name_room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


ROOMS = sorted({name_room(path) for path in modules()} - TOP)


def list_modules(room: str) -> list[Path]:
    return [path for path in modules() if name_room(path) == room]


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_imports_only_what_lies_below_its_room(room: str) -> None:
    assert room in BELOW, f"the room {room} has no place in the order of imports"
    for path in list_modules(room):
        above = {name for name in imported(path) if name.split(".")[0] not in BELOW[room] | {room}}
        assert not above, f"{path.relative_to(ROOT)} imports from above or beside its room"


@pytest.mark.parametrize("room", ROOMS)
def test_back_ends_do_not_import_each_other_and_are_named_only_at_the_top(room: str) -> None:
    for path in list_modules(room):
        parts = [part.removesuffix(".py") for part in path.relative_to(ROOT).parts]
        for owner, names in BACK_ENDS.items():
            found = {
                module
                for owner_, module, *_ in (f"{name}..".split(".") for name in imported(path))
                if owner_ == owner and module in names
            }
            if room == owner:
                found -= set(parts[1:2])  # a back-end may import itself
                if ".".join(parts) in REGISTRIES:
                    found = set()
            assert not found, f"{path.relative_to(ROOT)} names the back-ends {sorted(found)}"


def folder_of(name: str) -> str:
    """The folder in its room that a module is in; the room where it lies directly in it."""
    room, *inner = name.split(".")
    return f"{room}.{inner[0]}" if inner and (ROOT / room / inner[0]).is_dir() else room


def test_folders_of_a_room_import_each_other_in_one_direction() -> None:
    wrong = []
    for path in modules():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        here = folder_of(module)
        room = here.partition(".")[0]
        if room in TOP or (here == room and room not in INSIDE):
            continue
        assert here in INSIDE, f"the folder {here} has no place in the order of imports"
        found = {folder_of(name) for name in imported(path) if name.split(".")[0] == room} - {here}
        if above := found - INSIDE[here]:
            wrong.append(f"{module} imports {sorted(above)}")
    assert wrong == []


def test_no_module_imports_itself_through_others() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}

    def module_of(name: str) -> str:
        return name if name in names else name.rpartition(".")[0]

    graph = {
        module: {module_of(name) for name in imported(path)} & names.keys()
        for module, path in names.items()
    }
    assert len(tuple(graphlib.TopologicalSorter(graph).static_order())) == len(names)


@pytest.mark.parametrize("module", PURE)
def test_what_asks_nothing_imports_nothing_that_asks(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    rooms = {name.split(".")[0] for name in imported(path)}
    assert rooms <= PURE[module] | VALUES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "others"),
    [
        (
            "main_process",
            {"fastapi", "uvicorn", "sqlalchemy", "treadle.ingest", "treadle.control"}
            | {"treadle.loader", "treadle.server.factories", "treadle.store.store"},
        ),
        (
            "loader_process",
            {"fastapi", "uvicorn", "psycopg", "treadle.ingest", "treadle.control"},
        ),
        (
            "worker_process",
            {"pyarrow", "fastapi", "pydantic", "jinja2", "psycopg"}
            | {"treadle.control", "treadle.console"}
            | {"treadle.loader", "treadle.courier"},
        ),
        (
            "courier_process",
            {"fastapi", "httpx", "pyarrow", "treadle.ingest", "treadle.control", "treadle.loader"},
        ),
        ("worker_process", {"treadle.loader"}),
        (
            "desk_process",
            {"fastapi", "uvicorn", "pyarrow", "duckdb", "psycopg"}
            | {"treadle.ingest", "treadle.control", "treadle.loader", "treadle.maintenance"},
        ),
    ],
)
def test_a_process_imports_nothing_of_other_roles(role: str, others: set[str]) -> None:
    program = f"import sys, treadle.server.{role}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert f"treadle.server.{role}" in found
    assert not others & set(found)
    assert "sqlalchemy.dialects.postgresql" not in found  # see `complete_indexes`
