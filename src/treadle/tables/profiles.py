"""The profiles of the kinds of destinations (loading.md 3.3, 4, 6, 10.1)."""

import re
import unicodedata
from dataclasses import replace
from functools import cache

from treadle.tables.column_type import ColumnType
from treadle.tables.profile import SPLIT_SUFFIXES, DestinationProfile
from treadle.timestamps import FIRST_INSTANT, LAST_INSTANT

_RESERVED_SUFFIXES = ("__bi", "__bo", "__de", "__do", "__it", "__st", "__ti")


@cache
def _is_kept(character: str) -> bool:
    # Letters, marks and numbers of any script: reading the rule as ASCII would erase whole names.
    return unicodedata.category(character)[0] in "LMN"


def make_postgres_name(name: str) -> str:
    """Reduce part of a name to letters, digits, `_` and spaces (loading.md 6.2)."""
    if name.isascii() and name.replace("_", "a").isalnum():
        return name
    return "".join(c for c in name if c in "_ " or _is_kept(c))


def keep_name(name: str) -> str:
    """Return a name as it is."""
    return name


_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold_ascii_case(name: str) -> str:
    """Return a name with A to Z in lower case: DuckDB compares so, and `É` differs from `é`."""
    return name.translate(_ASCII_LOWER) if not name.islower() else name


POSTGRES = DestinationProfile(
    display_name="PostgreSQL",
    canonical=make_postgres_name,
    fold=keep_name,
    column_bytes_max=59,  # 63 less the room for a split suffix
    table_bytes_max=63,
    columns_max=1600,
    split="rename",
    reserved_suffixes=_RESERVED_SUFFIXES,
    decimal_integer_digits_max=131_072,
    decimal_scale_max=16_383,
    # It holds 4713 BC to 294276 AD, of which its drivers read no more than these years.
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="append",
    # Every table has them: `SELECT attname FROM pg_attribute WHERE attnum < 0`.
    columns_reserved=frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"}),
    schemas_system=("information_schema", "pg_*"),
    schemas_reserved=("public",),
)

DUCKDB = DestinationProfile(
    display_name="DuckDB",
    canonical=keep_name,
    fold=fold_ascii_case,
    column_bytes_max=None,
    table_bytes_max=None,
    columns_max=None,
    split="keep",
    reserved_suffixes=_RESERVED_SUFFIXES,
    decimal_integer_digits_max=29,
    decimal_scale_max=9,
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="stop",
    schemas_system=("information_schema", "pg_catalog"),
    schemas_reserved=("main", "system", "temp"),
)

_MYSQL_REPLACED = re.compile(r"[^a-z0-9_$]")


def make_mysql_name(name: str) -> str:
    """Write part of a name in lower case, with `_` for all but a-z, 0-9, `_` and `$`."""
    return _MYSQL_REPLACED.sub("_", name.strip().lower())


MYSQL = DestinationProfile(
    display_name="MySQL",
    canonical=make_mysql_name,
    fold=str.lower,
    column_bytes_max=60,  # 64 less the room for a split suffix
    table_bytes_max=60,
    columns_max=1017,
    split="rename",
    reserved_suffixes=("__bi", "__bo", "__de", "__dt", "__fl", "__it", "__js", "__st"),
    decimal_integer_digits_max=32,
    decimal_scale_max=6,
    # The manual promises the years from 1000 on; those before are kept exactly as well.
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="append",
    schemas_system=("information_schema", "mysql", "performance_schema", "sys"),
    split_suffixes={
        **SPLIT_SUFFIXES,
        ColumnType.DOUBLE: "fl",
        ColumnType.TIMESTAMP: "dt",
    },
    nonfinite_doubles=False,
)


def make_redshift_name(name: str) -> str:
    """Write part of a name in lower case, without all but letters, digits, `_`, `$`, spaces."""
    lower = name.lower()
    if lower.isascii() and lower.replace("_", "a").isalnum():
        return lower
    return "".join(c for c in lower if c in "_$ " or _is_kept(c))


REDSHIFT = DestinationProfile(
    display_name="Amazon Redshift",
    canonical=make_redshift_name,
    fold=str.lower,
    column_bytes_max=115,
    table_bytes_max=127,
    columns_max=1600,
    split="rename",
    reserved_suffixes=_RESERVED_SUFFIXES,
    decimal_integer_digits_max=29,
    decimal_scale_max=9,
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="append",
    # It has no such columns, and takes no others of their names.
    columns_reserved=frozenset({"cmax", "cmin", "ctid", "oid", "tableoid", "xmax", "xmin"}),
    schemas_system=("catalog_history", "information_schema", "pg_*"),
    schemas_reserved=("public",),
    # Files of rows have no name for them that is the same everywhere.
    nonfinite_doubles=False,
    text_bytes_max=65_535,
)

CLICKHOUSE_GONE = "_treadle_gone"
"""The column by which ClickHouse hides rows that were deleted."""

CLICKHOUSE = DestinationProfile(
    display_name="ClickHouse",
    canonical=keep_name,
    fold=keep_name,
    column_bytes_max=251,  # 255 less the room for a split suffix
    table_bytes_max=206,  # it is the name of a file, with more around it
    columns_max=None,
    split="keep",
    reserved_suffixes=_RESERVED_SUFFIXES,
    decimal_integer_digits_max=38,
    decimal_scale_max=38,
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="stop",
    columns_reserved=frozenset(
        {CLICKHOUSE_GONE, "_treadle_sequence", "_block_number", "_block_offset", "_row_exists"}
    ),
    schemas_system=("information_schema", "system"),
)

_SNOWFLAKE_BEGIN = re.compile(r"^[\W\d_]+")


def make_snowflake_name(name: str) -> str:
    """Write part of a name with `_` for spaces and nothing before its first letter.

    All but letters, digits and `_` is removed (loading.md 6.1). Names that begin with `_sdc` or
    `_rjm` keep that, since Stitch and Singer mean something by them. The database has the name in
    upper case, and this is the same name in lower case.
    """
    kept = "".join(c for c in name.replace(" ", "_") if c == "_" or _is_kept(c))
    # There are letters whose upper case is that of another one.
    kept = kept.upper().lower()
    return kept if kept.startswith(("__sdc", "_rjm", "_sdc")) else _SNOWFLAKE_BEGIN.sub("", kept)


SNOWFLAKE = DestinationProfile(
    display_name="Snowflake",
    canonical=make_snowflake_name,
    fold=str.lower,
    column_bytes_max=251,  # 255 less the room for a split suffix
    table_bytes_max=255,
    columns_max=None,
    split="keep",
    reserved_suffixes=("__bo", "__de", "__fl", "__it", "__st", "__ti", "__va"),
    decimal_integer_digits_max=32,
    decimal_scale_max=6,
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="stop",
    schemas_system=("information_schema",),
    split_suffixes={
        **SPLIT_SUFFIXES,
        ColumnType.BIGINT: "it",
        ColumnType.DOUBLE: "fl",
        ColumnType.JSON: "va",
    },
    nested="json",
)

# The format tells `A` from `a`, and most of those who read it do not. Names and types are else
# those of DuckDB, which answers questions about the tables.
ICEBERG = replace(DUCKDB, display_name="Iceberg", column_bytes_max=200, table_bytes_max=200)

_PLAIN_REPLACED = re.compile(r"[^a-z0-9_]")


def make_plain_name(name: str) -> str:
    """Write part of a name in lower case, with `_` for all but a-z, 0-9 and `_`."""
    return _PLAIN_REPLACED.sub("_", name.strip().lower())


ICEBERG_PLAIN = replace(
    ICEBERG,
    canonical=make_plain_name,
    schemas_system=(*ICEBERG.schemas_system, "treadle"),
    tables_reserved=frozenset({"sdc_rejected"}),
)
"""Of catalogues that take no other names, such as those of buckets of tables in S3."""

FILES = replace(
    DUCKDB,
    display_name="Parquet",
    # A table is a folder, whose name is cut where it would be longer. Columns are as those of
    # Iceberg: most readers of Parquet do not tell `A` from `a` either.
    column_bytes_max=200,
    table_bytes_max=200,
    append_only=True,
)

_LEADING_DIGITS = re.compile(r"^[0-9]+")


def make_bigquery_name(name: str) -> str:
    """Write part of a name in lower case, with `_` for other characters and for leading digits."""
    return _LEADING_DIGITS.sub("_", _PLAIN_REPLACED.sub("_", name.lower()))


BIGQUERY = DestinationProfile(
    display_name="BigQuery",
    canonical=make_bigquery_name,
    fold=str.lower,
    column_bytes_max=128,  # it takes 300 by now
    table_bytes_max=1024,
    columns_max=10_000,
    split="keep",
    reserved_suffixes=("__bo", "__fl", "__it", "__js", "__nu", "__st", "__ti"),
    decimal_integer_digits_max=29,
    decimal_scale_max=9,
    timestamp_min_us=FIRST_INSTANT,
    timestamp_max_us=LAST_INSTANT,
    dropped_key="stop",
    prefixes_reserved=(
        *("__root__", "_change_", "_colidentifier", "_file_", "_partition", "_row_timestamp"),
        "_table_",
    ),
    schemas_system=("information_schema",),
    split_suffixes={
        **SPLIT_SUFFIXES,
        ColumnType.BIGINT: "it",
        ColumnType.DECIMAL: "nu",
        ColumnType.DOUBLE: "fl",
    },
)

BIGQUERY_APPENDING = replace(BIGQUERY, upserts=False)
"""Of destinations whose loading mode is APPEND_ONLY."""
