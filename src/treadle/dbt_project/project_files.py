"""Makes the files of a dbt project, and compares them with those that are there.

    models/treadle/SOURCE/sources.yml
    models/treadle/SOURCE/MODEL.sql
    tests/treadle/SOURCE/KEY_TEST.sql

The first line of each says who wrote it. A file without it is not treadle's: it is neither replaced
nor removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treadle.dbt_project.key_test import has_own_test, write_test
from treadle.dbt_project.loaded_source import LoadedSource, name_relations
from treadle.dbt_project.model_names import choose_names, join_names
from treadle.dbt_project.sources_file import FreshnessRule, write_sources
from treadle.dbt_project.staging_model import write_model

FOLDERS: Final = ("models/treadle", "tests/treadle")
"""Where all files are, below the folder of the project."""

MARK: Final = "Written by `treadle dbt`"
HEADER: Final = f"{MARK}, which replaces it when it runs again: make changes in other files."


@dataclass(frozen=True, slots=True)
class ProjectChoice:
    """What somebody chooses about the files.

    Attributes:
        prefix: of the names of staging models.
        database: name of the database in dbt; None for that of the target.
        freshness: after which time without a load dbt complains; None for never.
    """

    prefix: str = "stg_"
    database: str | None = None
    freshness: FreshnessRule | None = None


def write_files(sources: Sequence[LoadedSource], choice: ProjectChoice) -> dict[str, str]:
    """Return path -> content of all files of some sources; a source without tables has none."""
    files: dict[str, str] = {}
    named = name_relations(sources, choice.prefix)
    tests = choose_names(
        join_names(f"key_of_{one.source}", one.name) for _, its in named for one in its
    )
    for loaded, (name, relations) in zip(sources, named, strict=True):
        if not relations:
            continue
        models_folder, tests_folder = (f"{folder}/{name}" for folder in FOLDERS)
        files[f"{models_folder}/sources.yml"] = f"# {HEADER}\n" + write_sources(
            loaded, name, relations, database=choice.database, freshness=choice.freshness
        )
        for one in relations:
            files[f"{models_folder}/{one.model}.sql"] = f"-- {HEADER}\n{write_model(one)}"
            if has_own_test(one):
                test = tests[join_names(f"key_of_{one.source}", one.name)]
                files[f"{tests_folder}/{test}.sql"] = f"-- {HEADER}\n{write_test(one)}"
    return files


class FileAction(StrEnum):
    """What is done with a file."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is to be written or removed.

    Attributes:
        path: below the folder of the project.
        action: what is done.
        text: the content; empty for one that is removed.
        is_foreign: somebody else wrote the file that is there.
    """

    path: str
    action: FileAction
    text: str = ""
    is_foreign: bool = False


def plan_file_changes(wanted: Mapping[str, str], present: Mapping[str, str]) -> list[FileChange]:
    """Return what leads from the files that are there to those that are wanted, by path.

    Args:
        wanted: path -> content.
        present: path -> content of the files that may be replaced or removed.
    """
    changes = []
    for path in sorted(wanted.keys() | present.keys()):
        text, there = wanted.get(path), present.get(path)
        if text is None:
            if there is not None and is_ours(there):
                changes.append(FileChange(path, FileAction.REMOVE))
        elif there is None:
            changes.append(FileChange(path, FileAction.ADD, text))
        elif there != text:
            changes.append(FileChange(path, FileAction.CHANGE, text, not is_ours(there)))
    return changes


def is_ours(text: str) -> bool:
    """Return whether the first line of a file says that treadle wrote it."""
    first = text.partition("\n")[0]
    return first.startswith((f"# {MARK}", f"-- {MARK}"))
