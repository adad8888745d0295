"""How the kinds of destination that treadle has answer the suite: the traits of each, as data."""

from collections.abc import Mapping
from typing import Final

from treadle.destinations.conformance.bigquery_statements import spell_for_bigquery
from treadle.destinations.conformance.traits import ODD_NAMES, DestinationTraits
from treadle.tables.profiles import make_bigquery_name, make_snowflake_name

DUCKDB = DestinationTraits(timestamp_microseconds="epoch_us({column})")
POSTGRES = DestinationTraits(
    timestamp_microseconds=(
        "('x' || encode(timestamptz_send({column}), 'hex'))::bit(64)::bigint"
        " + 946684800000000::numeric"
    ),
    row_too_big="row is too big for PostgreSQL",
    key_too_big="row is too big for PostgreSQL",
)
MYSQL = DestinationTraits(
    timestamp_microseconds="TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})",
    duplicate_text="Duplicate entry",
    row_too_big="ERROR: too many columns",
    key_too_big="ERROR 1265: Data truncated for column 'k' at row 1",
    nonfinite_doubles=False,
    timestamps_beyond=False,
    timestamp_type="DATETIME(6)",
    text_type="VARCHAR(20)",
    index_text="{column}(20)",
    names_refused=frozenset({"emoji 🧵"}),
    erase="DROP DATABASE {schema}",
)
CLICKHOUSE = DestinationTraits(
    timestamp_microseconds="toUnixTimestamp64Micro({column})",
    timestamps_beyond=False,
    timestamp_type="DateTime64(6, 'UTC')",
    schema_word="DATABASE",
    erase="DROP DATABASE {schema}",
    table_options=" ENGINE = MergeTree ORDER BY tuple()",
    nullable="Nullable({type})",
    update="ALTER TABLE {table} UPDATE {changes} WHERE true",
    index_options=" TYPE minmax",
    has_constraints=False,
    required=frozenset({"_sdc_sequence", "_treadle_gone", "id"}),
    columns_besides=("_treadle_gone",),
    is_nullable=("0", "1"),
    views_follow=False,
    enforces_unique=False,
)
ICEBERG = DestinationTraits(
    timestamp_microseconds="epoch_us({column})",
    timestamps_beyond=False,
    default_text=None,
    enforces_unique=False,
)
BIGQUERY = DestinationTraits(
    timestamp_microseconds="UNIX_MICROS({column})",
    timestamps_beyond=False,
    timestamp_type="TIMESTAMP",
    text_type="STRING",
    required=frozenset(),
    default_text=None,
    enforces_unique=False,
    names_refused=frozenset(
        {"Odd Schema", *(name for name in ODD_NAMES if make_bigquery_name(name) != name)}
    ),
    spell=spell_for_bigquery,
    version="SELECT ''",
)

REDSHIFT = DestinationTraits(
    timestamp_microseconds=(
        "CAST(extract(epoch FROM date_trunc('second', {column})) AS bigint) * 1000000"
        " + CAST(extract(microseconds FROM {column}) AS bigint) % 1000000"
    ),
    nonfinite_doubles=False,
    timestamps_beyond=False,
    timestamp_type="TIMESTAMP",
    has_indexes=False,
    constrains_key=False,
    has_constraints=False,
    names_refused=frozenset(
        {'quo"te', '"; DROP SCHEMA web CASCADE; --', "back\\slash", "new\nline"}
    ),
    required=frozenset(),
    enforces_unique=False,
)

FILES = DestinationTraits(
    timestamp_microseconds="epoch_us({column})",
    timestamps_beyond=False,
)

SNOWFLAKE = DestinationTraits(
    timestamp_microseconds="DATE_PART(EPOCH_MICROSECOND, {column})",
    timestamps_beyond=False,
    timestamp_type="TIMESTAMP_TZ(9)",
    has_indexes=False,
    enforces_unique=False,
    names_refused=frozenset(name for name in ODD_NAMES if make_snowflake_name(name) != name),
    version="SELECT CURRENT_VERSION()",
)

TRAITS: Final[Mapping[str, DestinationTraits]] = {
    "bigquery_v2": BIGQUERY,
    "clickhouse": CLICKHOUSE,
    "duckdb": DUCKDB,
    "iceberg": ICEBERG,
    "mysql_destination": MYSQL,
    "postgres": POSTGRES,
    "redshift": REDSHIFT,
    "s3": FILES,
    "snowflake": SNOWFLAKE,
}
"""Kind of destination -> its traits."""
