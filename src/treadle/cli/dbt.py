"""`treadle dbt`: writes sources, staging models and tests of a dbt project about what is loaded."""

import argparse
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand, UsageError
from treadle.cli.output import print_error, print_json, print_line
from treadle.cli.store_access import find_source, find_url_of_source, open_existing_store
from treadle.cli.time_argument import parse_duration
from treadle.config import Config
from treadle.counting import count_noun
from treadle.destinations.layout import REJECTED, REJECTED_COLUMNS
from treadle.destinations.protocol import Session
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError
from treadle.store.model import Source
from treadle.tables.model import Relation
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import SchemaOwner

if TYPE_CHECKING:
    from treadle.dbt_project.loaded_source import LoadedSource
    from treadle.dbt_project.project_files import FileChange
    from treadle.dbt_project.sources_file import FreshnessRule
    from treadle.store.store import Store

_PREFIX: Final = re.compile(r"[a-z_][a-z0-9_]{0,19}|")
_MINUTE: Final = 60_000_000
_SIGNS: Final = {"add": "+", "change": "~", "remove": "-"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        help="name or id of a source; repeat it for several (default: all)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the dbt project (default: this folder, if it has a dbt_project.yml)",
    )
    parser.add_argument(
        "--prefix",
        metavar="TEXT",
        default="stg_",
        help="what the names of staging models begin with (default: stg_)",
    )
    parser.add_argument(
        "--freshness",
        metavar="WARN[,ERROR]",
        help="after which time without a load `dbt source freshness` warns, and fails: 6h,2d "
        "(default: never)",
    )
    parser.add_argument(
        "--database",
        metavar="NAME",
        help="name that the database has in dbt (default: the database of dbt's target)",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file would change"
    )
    parser.add_argument(
        "--force", action="store_true", help="also replace files that treadle did not write"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def write_project(config: Config, arguments: Arguments) -> int:
    """Write the files; return 1 if `--check` finds one that would change."""
    from treadle.dbt_project.project_files import ProjectChoice, plan_file_changes, write_files

    if not _PREFIX.fullmatch(arguments.prefix):
        raise UsageError(
            "--prefix is to be up to 20 lower-case letters, digits and _, and not to begin with a "
            f"digit, not {arguments.prefix!r}."
        )
    choice = ProjectChoice(
        arguments.prefix, arguments.database, parse_freshness(arguments.freshness)
    )
    root = _find_project(arguments.out)
    loaded = read_loaded(config, arguments.source)
    wanted = write_files(loaded, choice)
    present = _read_present(root, wanted, None if not arguments.source else loaded)
    changes = plan_file_changes(wanted, present)
    foreign = [change.path for change in changes if change.is_foreign]
    if foreign and not (arguments.force or arguments.check):
        raise OperatorError(
            f"Treadle did not write {' and '.join(foreign[:3])}, so nothing was written. Move the "
            "file away, or replace it with --force."
        )
    if not arguments.check:
        for change in changes:
            _carry_out(root, change, arguments.user_umask)
    if arguments.json:
        found = [{"path": one.path, "action": one.action.value} for one in changes]
        print_json({"changes": found, "written": not arguments.check, "files": len(wanted)})
    else:
        _report(changes, wanted=len(wanted), is_check=arguments.check)
        for source in loaded:
            if not source.tables:
                print_error(f"Nothing is loaded of {source.name} yet.")
    return 1 if arguments.check and changes else 0


def _find_project(named: str | None) -> Path:
    """Return the folder to write to. Nobody wants the files in just any folder that he is in."""
    if named is None and not Path("dbt_project.yml").exists():
        raise OperatorError(
            "This folder is no dbt project, as it has no dbt_project.yml; name the project with "
            "--out."
        )
    try:
        root = Path(named or ".").expanduser()
    except RuntimeError as error:
        raise OperatorError(f"The folder {named} of --out cannot be found: {error}") from None
    if root.exists() and not root.is_dir():
        raise OperatorError(f"{root} is a file; --out names the folder of the dbt project.")
    return root


def parse_freshness(text: str | None) -> "FreshnessRule | None":
    """Parse `6h` or `6h,2d` into the rule when a table is old; None for none.

    Raises:
        UsageError: it is neither, or the second time is not longer.
    """
    from treadle.dbt_project.sources_file import FreshnessRule

    if text is None:
        return None
    parts = text.split(",")
    times = [parse_duration("--freshness", part) for part in parts]
    if len(times) > 2 or any(time % _MINUTE or not time for time in times):
        raise UsageError(
            "--freshness is to be one or two times of whole minutes, such as 6h or 6h,2d, not "
            f"{text!r}."
        )
    warn, *error = (time // _MINUTE for time in times)
    if error and error[0] <= warn:
        raise UsageError(f"--freshness is to fail later than it warns, not {text!r}.")
    return FreshnessRule(warn, *error)


def read_loaded(config: Config, wanted: list[str]) -> "list[LoadedSource]":
    """Read from their destination what is loaded of sources.

    Args:
        config: the settings.
        wanted: names or ids; empty for all.

    Raises:
        OperatorError: there is no such source, or they load into several destinations.
    """
    from treadle.destinations.registry import make_destination

    with open_existing_store(config) as store:
        sources = _choose_sources(store, wanted)
        urls = {
            config.destination or find_url_of_source(store, config, source) for source in sources
        }
        schemas = {one.id: store.table_schemas.list_schemas(one.id) for one in sources}
        installation = store.installation_id
    if len(urls) > 1:
        names = ", ".join(source.name for source in sources)
        raise OperatorError(
            f"The sources {names} load into several destinations, and a dbt project has one; name "
            "those of one destination with --source."
        )
    destination = make_destination(urls.pop())

    def attempt() -> "list[LoadedSource]":
        with destination.preview() as session:
            return [
                _read_source(
                    session,
                    source,
                    SchemaOwner(installation, source.account_id, source.id),
                    {one.table_name: one.document for one in schemas[source.id]},
                    destination.profile,
                )
                for source in sources
            ]

    return open_with_retry(attempt)


def _choose_sources(store: "Store", wanted: list[str]) -> list[Source]:
    if wanted:
        chosen = {source.id: source for source in (find_source(store, None, one) for one in wanted)}
    else:
        chosen = {one.id: one for one in store.sources.list_sources() if one.deleted_at is None}
    if not chosen:
        raise OperatorError(
            "There is no source yet; make one with `treadle source create DISPLAY_NAME`."
        )
    return sorted(chosen.values(), key=lambda source: (source.name, source.id))


def _read_source(
    session: Session,
    source: Source,
    owner: SchemaOwner,
    documents: Mapping[str, bytes],
    profile: DestinationProfile,
) -> "LoadedSource":
    """Read what is loaded of a source.

    Args:
        session: of its destination.
        source: whose tables to read.
        owner: as whom the destination has recorded it.
        documents: name of a table as sent -> its JSON schema.
        profile: of the destination.

    Raises:
        TableStoppedError: the schema is not that of the source.
    """
    from treadle.dbt_project.loaded_source import LoadedSource
    from treadle.dbt_project.schema_descriptions import find_descriptions
    from treadle.tables.names import Namer
    from treadle.tables.options import make_options

    session.check_owner(source.schema, owner)
    tables, descriptions = [], {}
    subtables: set[str] = set()
    for name in session.relations(source.schema):
        if name in subtables:
            continue
        state = session.state(source.schema, name)
        table = state.table
        if table is None or not table.relations:
            continue
        tables.append((table, state.physical))
        subtables |= {relation.name for relation in table.relations if relation.path}
        sent = table.relations[0].source_name
        if sent in documents:
            namer = Namer(profile, make_options(source.settings, sent))
            document = json.loads(documents[sent])
            descriptions[table.name] = find_descriptions(document, namer.make_canonical)
    return LoadedSource(
        source.name,
        source.display_name,
        source.schema,
        tuple(tables),
        descriptions,
        _find_rejections(session, source.schema),
    )


def _find_rejections(session: Session, schema: str) -> Relation | None:
    """Return the table of rejected records, with the columns that are there; None without one."""
    there = session.state(schema, REJECTED).physical.get(REJECTED)
    if there is None:
        return None
    columns = tuple(
        replace(column, type=there.columns[column.name] or column.type)
        for column in REJECTED_COLUMNS
        if column.name in there.columns
    )
    return Relation((), REJECTED, columns, (), REJECTED)


def _read_present(
    root: Path, wanted: dict[str, str], only: "list[LoadedSource] | None"
) -> dict[str, str]:
    """Return path -> content of the files that are wanted, or that an earlier run has left.

    Args:
        root: the folder of the project.
        wanted: by path.
        only: the sources whose folders are looked through; None for all folders.
    """
    from treadle.dbt_project.model_names import choose_names
    from treadle.dbt_project.project_files import FOLDERS

    names = ["*"] if only is None else choose_names(one.schema for one in only).values()
    found = {root / path for path in wanted}
    for folder in FOLDERS:
        for name in names:
            found.update(root.glob(f"{folder}/{name}/*.sql"), root.glob(f"{folder}/{name}/*.yml"))
    present = {}
    for path in found:
        if path.is_file():
            content = path.read_bytes().decode("utf-8", "replace")
            present[path.relative_to(root).as_posix()] = content
    return present


def _carry_out(root: Path, change: "FileChange", umask: int) -> None:
    """Write or remove a file. A project is shared, so a file has the rights that its user gives."""
    path = root / change.path
    if change.action == "remove":
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o777 & ~umask)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    try:
        draft.write_bytes(change.text.encode())
        draft.chmod(0o666 & ~umask)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _report(changes: "list[FileChange]", *, wanted: int, is_check: bool) -> None:
    for change in changes:
        note = " (treadle did not write it: needs --force)" if change.is_foreign else ""
        print_line(f"{_SIGNS[change.action]} {change.path}{note if is_check else ''}")
    if not changes:
        print_line(f"Nothing changes: {count_noun(wanted, 'file')} as it should be.")
    elif is_check:
        print_line(f"{count_noun(len(changes), 'file')} would change.")
    else:
        print_line(f"{count_noun(len(changes), 'file')} of {wanted} changed.")


COMMAND = CliCommand(
    words=("dbt",),
    help="write sources, staging models and tests of a dbt project about what is loaded",
    run=write_project,
    arguments=_arguments,
    settings=("destination",),
    defaults={"destination": "where the sources' rows go"},
)
