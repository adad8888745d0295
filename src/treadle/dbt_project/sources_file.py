"""Writes `sources.yml`: what is loaded of a source, with types, descriptions and tests of keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.dbt_project.key_test import has_own_test
from treadle.dbt_project.loaded_source import LoadedSource, ModelledRelation
from treadle.dbt_project.quoting import protect_text, write_yaml
from treadle.dbt_project.schema_descriptions import FieldDescriptions
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.names import (
    BATCHED_AT,
    GENERATED_KEY,
    META_COLUMN,
    RECEIVED_AT,
    SEQUENCE,
    SOURCE_KEY,
    VERSION,
    is_system_name,
)
from treadle.text import end_sentence

DATA_TYPES: Final[Mapping[ColumnType, str]] = {
    ColumnType.BIGINT: "bigint",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DECIMAL: "decimal",
    ColumnType.DOUBLE: "double precision",
    ColumnType.JSON: "json",
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "timestamp with time zone",
}

_DESCRIPTIONS: Final[Mapping[str, str]] = {
    BATCHED_AT: "When the load that wrote the row was made.",
    RECEIVED_AT: "When the record was accepted.",
    SEQUENCE: "The sequence of the record; among records with one key, the greatest is the row.",
    VERSION: "The table version of the record; 0 when none was given.",
    GENERATED_KEY: "Generated key of a table without key names.",
    META_COLUMN: "The values that were left out of the row since they could not be stored.",
}

REJECTED_AT: Final = "_sdc_rejected_at"
"""The column by which the table of rejected records is as old as its newest row."""

_REJECTION_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "record": "The record as sent, cut at 64 KB.",
    "reason": "Why it could not be stored.",
    "table_name": "The table that it was for.",
    REJECTED_AT: "When it was rejected.",
    "code": "The cause without the value, to group rejected records by.",
    "field": "The field to blame; null where it is none alone.",
}

_PERIODS: Final = (("day", 1440), ("hour", 60), ("minute", 1))


@dataclass(frozen=True, slots=True)
class FreshnessRule:
    """After how many minutes without a load dbt complains of a table.

    Attributes:
        warn: it warns.
        error: it fails; None for never.
    """

    warn: int
    error: int | None = None


def write_sources(
    loaded: LoadedSource,
    name: str,
    relations: Sequence[ModelledRelation],
    *,
    database: str | None,
    freshness: FreshnessRule | None,
) -> str:
    """Return the YAML of one source.

    Args:
        loaded: the source.
        name: of it in dbt.
        relations: of it.
        database: name of the database in dbt, where it is not that of the target.
        freshness: of root tables; None for no rule.
    """
    config: dict[str, Any] = {"loaded_at_field": BATCHED_AT}
    if freshness is not None:
        config["freshness"] = _write_freshness(freshness)
    tables = [
        _describe_relation(one, loaded.descriptions.get(one.table.name, {}), freshness is not None)
        for one in relations
    ]
    if loaded.rejections is not None:
        tables.append(_describe_rejections(loaded.rejections, freshness is not None))
    source: dict[str, Any] = {
        "name": name,
        "description": protect_text(f"What treadle loaded of {loaded.display_name}."),
        "loader": "treadle",
        **({} if database is None else {"database": protect_text(database)}),
        "schema": protect_text(_double_quotes(loaded.schema)),
        "quoting": {"schema": True, "identifier": True},
        "config": config,
        "tables": tables,
    }
    return write_yaml({"version": 2, "sources": [source]})


def _write_freshness(rule: FreshnessRule) -> dict[str, Any]:
    written = {"warn_after": _write_period(rule.warn)}
    if rule.error is not None:
        written["error_after"] = _write_period(rule.error)
    return written


def _write_period(minutes: int) -> dict[str, Any]:
    period, size = next(one for one in _PERIODS if minutes % one[1] == 0)
    return {"count": minutes // size, "period": period}


def _double_quotes(name: str) -> str:
    # dbt writes quotes around a name and leaves those in it as they are.
    return name.replace('"', '""')


def _describe_relation(
    modelled: ModelledRelation, said: FieldDescriptions, has_freshness: bool
) -> dict[str, Any]:
    relation = modelled.relation
    described: dict[str, Any] = {
        "name": modelled.name,
        "identifier": protect_text(_double_quotes(relation.name)),
        "description": protect_text(_describe_rows(modelled, said)),
    }
    if relation.path and has_freshness:
        # A record may have no element of the array for long.
        described["config"] = {"freshness": None}
    described["columns"] = [
        _describe_column(modelled, said, column) for field in modelled.fields for column in field
    ]
    return described


def _describe_rejections(relation: Relation, has_freshness: bool) -> dict[str, Any]:
    """Describe the table of rejected records. Its name is one that dbt takes as it is."""
    config: dict[str, Any] = {"loaded_at_field": REJECTED_AT}
    if has_freshness:
        # No record may be rejected for long.
        config["freshness"] = None
    return {
        "name": relation.name,
        "identifier": relation.name,
        "description": "Records and fields of this source that could not be stored, and why.",
        "config": config,
        "columns": [
            {
                "name": column.name,
                "quote": True,
                "description": _REJECTION_DESCRIPTIONS[column.name],
                "data_type": DATA_TYPES[column.type],
            }
            for column in relation.columns
        ],
    }


def _describe_rows(modelled: ModelledRelation, said: FieldDescriptions) -> str:
    relation, table = modelled.relation, modelled.table
    if relation.path:
        own = f"Elements of the array {relation.path[-1]} in records of {table.name}."
        return _join_sentences(said.get((relation.path[:-1], relation.path[-1]), ""), own)
    keys = ", ".join(column.name for column in table.keys)
    if table.append or table.keyless:
        return f"Records of {table.name}, each a row."
    return f"Records of {table.name}, the latest of each {keys}."


def _join_sentences(*texts: str) -> str:
    return " ".join(end_sentence(text) for text in texts if text)


def _describe_column(
    modelled: ModelledRelation, said: FieldDescriptions, column: Column
) -> dict[str, Any]:
    described: dict[str, Any] = {"name": protect_text(column.name), "quote": True}
    of_field = (
        "" if is_system_name(column.field) else said.get((modelled.relation.path, column.field), "")
    )
    if text := _join_sentences(of_field, _find_description(modelled, column)):
        described["description"] = protect_text(text)
    described["data_type"] = DATA_TYPES[column.type]
    if (column.name,) == modelled.relation.key and not has_own_test(modelled):
        described["data_tests"] = ["unique", "not_null"]
    return described


def _find_description(modelled: ModelledRelation, column: Column) -> str:
    if column.name in _DESCRIPTIONS:
        return _DESCRIPTIONS[column.name]
    if modelled.relation.path and is_system_name(column.name):
        if column.name.startswith(SOURCE_KEY):
            return f"Key of the record of {modelled.table.name} that the row belongs to."
        return "Place in the array, from 0."
    others = [one for one in modelled.relation.columns if one.field == column.field]
    if len(others) > 1:
        return (
            f"The values of {column.field} that are {DATA_TYPES[column.type]}; "
            "the staging model has all of them in one column."
        )
    return ""
