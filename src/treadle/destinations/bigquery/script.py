"""The script of a load: one transaction, guarded by what the load follows. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from treadle.destinations.bigquery.dialect import BigqueryDialect
from treadle.destinations.bigquery.errors import OUTDATED
from treadle.destinations.layout import digest_name
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.sql.catalogue import table_key
from treadle.destinations.sql.stepped_session import name_entry
from treadle.destinations.sql.text import Quoted, compose, join, where
from treadle.destinations.sql.upsert import StagedRows
from treadle.errors import TableStoppedError
from treadle.tables.model import LoadPlan, Relation

_MARK: Final = re.compile(r"`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'|\$(\d+)", re.DOTALL)
"""A quoted name, a quoted text, or the place of a value."""

GUARD: Final = """
SELECT IF(
  (SELECT LOGICAL_AND(installation_id = $2 AND account_id = $3)
   FROM {schemas} WHERE schema_name = $1)
  AND IFNULL((SELECT MAX(position) FROM {offsets}
   WHERE log_id = $4 AND source_id = $5 AND table_key = $6), -1) = $7
  AND IFNULL((SELECT MAX(fence) FROM {offsets}
   WHERE log_id = $4 AND source_id = $5 AND table_key = $6), 0) <= $8
  AND IFNULL((SELECT MAX(revision) FROM {entries}
   WHERE schema_name = $1 AND table_key = $9), 0) = $10
  AND {claim},
  0, ERROR($11))
"""

HELD_INTENT: Final = """
(SELECT MAX(document) FROM {intents} WHERE schema_name = $1 AND table_key = $2)
"""

LOCK: Final = "UPDATE {schemas} SET source_id = source_id WHERE schema_name = $1"
"""Changes nothing; but of two transactions that change rows of one table, one is aborted. Those
that only insert are not, and the first load of a table inserts its offset."""

HELD_RESULT: Final = """
(SELECT result FROM {offsets} WHERE log_id = $1 AND source_id = $2 AND table_key = $3)
"""

GREATEST_FENCE: Final = 2**63 - 1

ENDING_JOBS: Final = "treadle_end_"
"""The beginning of the ids of jobs that do what an earlier load left; whose log is not known."""

SCRIPT_LENGTH_MAX: Final = 1_000_000
"""Characters of a script; BigQuery takes 1,048,576 of them."""

TEXTS_LENGTH_MAX: Final = 200_000
"""Characters of a script up to which a text that is long stands in it."""

TEXT_LENGTH_MIN: Final = 1000
"""Characters of a text that is sent beside a script rather than in it, where there is no room."""


def fill_values(statement: str, values: Sequence[str]) -> str:
    """Return a statement with values in place of `$1` and so on, outside of quotes."""
    if not values:
        return statement

    def fill(found: re.Match[str]) -> str:
        number = found[1]
        return found[0] if number is None else values[int(number) - 1]

    return _MARK.sub(fill, statement)


def make_script(statements: Sequence[str], answers: Sequence[str], *, undoes: bool = False) -> str:
    """Return a script that is one transaction, and gives one row of answers.

    Args:
        statements: of the transaction.
        answers: expressions of texts, of the time after it.
        undoes: roll the transaction back; the answers are of the time before that.
    """
    lines = ["BEGIN TRANSACTION", *(statement.strip() for statement in statements)]
    if not undoes:
        lines.append("COMMIT TRANSACTION")
        lines += [f"SELECT {', '.join(answers)}"] if answers else []
    else:
        names = [f"answer_{number:d}" for number in range(len(answers))]
        lines = [f"DECLARE {', '.join(names)} STRING", *lines]
        lines += [f"SET {name} = {one}" for name, one in zip(names, answers, strict=True)]
        lines += ["ROLLBACK TRANSACTION", f"SELECT {', '.join(names)}"]
    return ";\n".join(lines) + ";"


def check_length(script: str) -> None:
    """Check that BigQuery takes a script.

    Raises:
        TableStoppedError: it is too long.
    """
    if len(script) > SCRIPT_LENGTH_MAX:
        raise TableStoppedError(
            f"the script of the load has {len(script):,} characters, and BigQuery takes about "
            f"{SCRIPT_LENGTH_MAX:,}. It names every column of the table and of its subtables, so "
            "send records with fewer fields, or set the option `nested` of the table to `json`"
        )


def read_text(stage: Quoted, number: int) -> str:
    """Return the expression of a text that was sent beside the script.

    Args:
        stage: the table of such texts: number as `c0`, text as `c1`.
        number: of the text.
    """
    return compose("(SELECT c1 FROM {stage} WHERE c0 = {n})", stage=stage, n=Quoted(f"{number:d}"))


def name_load_jobs(log_id: str) -> str:
    """Return the beginning of the ids of all jobs of loads of a log."""
    return f"treadle_load_{digest_name(log_id)[:16]}_"


def name_ending(attempt: str) -> str:
    """Return the beginning of the ids of the jobs that end an earlier load.

    Args:
        attempt: of this; no other one has it.
    """
    return f"{ENDING_JOBS}{attempt}"


def name_load(plans: Sequence[LoadPlan], attempt: str) -> str:
    """Return the beginning of the ids of the jobs of a load.

    Args:
        plans: that are carried out together.
        attempt: of the load; no other one has it.
    """
    return f"{name_table_jobs(plans[0])}{plans[0].offset.position:d}_{attempt}"


def name_table_jobs(plan: LoadPlan) -> str:
    """Return the beginning of the ids of all jobs of loads of the table of a plan."""
    mark = plan.offset
    table = digest_name(f"{mark.source_id}/{mark.table_name}")[:16]
    return f"{name_load_jobs(mark.log_id)}{table}_"


def _claim_intent(dialect: BigqueryDialect, schema: str, table: str, attempt: str | None) -> Quoted:
    """Return the condition that an attempt's intent is noted; for None, that there is none."""
    spelled = [dialect.literal(value) for value in (schema, table_key(dialect, table))]
    held = fill_values(compose(HELD_INTENT, **dialect.own_tables).strip(), spelled)
    if attempt is None:
        return Quoted(f"{held} IS NULL")
    if not attempt:  # of an earlier version of treadle: the names of all attempts begin so
        named = dialect.literal('"attempt":"treadle_')
        return Quoted(f"STRPOS(IFNULL({held}, {named}), {named}) = 0")
    mark = dialect.literal(f'"attempt":"{attempt}"')
    return Quoted(f"STRPOS(IFNULL({held}, ''), {mark}) > 0")


def guard_intent(dialect: BigqueryDialect, schema: str, table: str, attempt: str | None) -> str:
    """Return the statement that ends a script unless an attempt's intent is noted.

    Args:
        dialect: of BigQuery.
        schema: of the table.
        table: its canonical name.
        attempt: see `LoadIntent`; None where nothing is noted.
    """
    claim = _claim_intent(dialect, schema, table, attempt)
    return f"SELECT IF({claim}, 0, ERROR({dialect.literal(OUTDATED)}))"


def guard_plan(dialect: BigqueryDialect, plan: LoadPlan, attempt: str | None = None) -> list[str]:
    """Return the statements that end a script unless a plan follows what is there.

    They are what `catalogue.check_owner` and `catalogue.claim` check, and whose intent is noted.

    Args:
        dialect: of BigQuery.
        plan: of the load.
        attempt: see `guard_intent`.
    """
    mark, owner = plan.offset, plan.owner
    values = (
        plan.schema,
        owner.installation_id,
        owner.account_id,
        mark.log_id,
        mark.source_id,
        digest_name(mark.table_name),
        mark.previous_position,
        GREATEST_FENCE if mark.replaces_rows else mark.fence,
        table_key(dialect, name_entry(plan)),
        plan.revision,
        OUTDATED,
    )
    spelled = [dialect.literal(value) for value in values]
    claim = _claim_intent(dialect, plan.schema, name_entry(plan), attempt)
    places = {**dialect.own_tables, "claim": claim}
    return [fill_values(compose(template, **places), spelled) for template in (GUARD, LOCK)]


def read_result(dialect: BigqueryDialect, plan: LoadPlan) -> str:
    """Return the expression of the result that is kept with the offset of a plan."""
    mark = plan.offset
    values = (mark.log_id, mark.source_id, digest_name(mark.table_name))
    spelled = [dialect.literal(value) for value in values]
    return fill_values(compose(HELD_RESULT, **dialect.own_tables).strip(), spelled)


class ScriptCounter(LoadCounter):
    """Counts rows in the script: how many are written is not known before."""

    def __init__(self, plan: LoadPlan, empty: frozenset[tuple[bool, str]] = frozenset()) -> None:
        super().__init__(plan, empty)
        self._counted: dict[str, list[Quoted]] = {}
        self._lost: list[Quoted] = []

    def count_where(self, relation: Relation, stage: StagedRows, condition: Quoted) -> None:
        """Add the staged rows that meet a condition at the end of the transaction."""
        counted = compose(
            "(SELECT COUNT(*) FROM {stage} s {where})", stage=stage.name, where=where(condition)
        )
        self.count(relation, 0)
        self._counted.setdefault(self._names.get(relation.name, relation.name), []).append(counted)

    def supersede_where(self, stage: StagedRows, condition: Quoted) -> None:
        """Add the staged rows that meet a condition to those that are superseded, by entry."""
        self._lost.append(
            compose(
                "SELECT s.entry AS entry, COUNT(*) AS n FROM {stage} s {where} GROUP BY s.entry",
                stage=stage.name,
                where=where(condition),
            )
        )

    def spell_result(self, dialect: BigqueryDialect) -> str:
        """Return the expression of the result, as `layout.encode_result` writes it."""
        rows = _join_counts(dialect, self._rows, self._counted)
        if not self._lost:
            return f"CONCAT('[{{', {rows}, '}},{{}}]')"
        lost = compose(
            "IFNULL((SELECT STRING_AGG(CONCAT('\"', CAST(entry AS STRING), '\":',"
            " CAST(n AS STRING)), ',') FROM (SELECT entry, SUM(n) AS n FROM ({lost}) AS u"
            " GROUP BY entry) AS g), '')",
            lost=join(" UNION ALL ", self._lost),
        )
        return f"CONCAT('[{{', {rows}, '}},{{', {lost}, '}}]')"


def _join_counts(
    dialect: BigqueryDialect, known: Mapping[str, int], counted: Mapping[str, Sequence[Quoted]]
) -> str:
    parts: list[str] = []
    for name, number in known.items():
        comma = "," if parts else ""
        total = " + ".join([f"{number:d}", *counted.get(name, ())])
        parts.append(f"{dialect.literal(f'{comma}{json.dumps(name)}:')}, CAST({total} AS STRING)")
    return ", ".join(parts) or "''"
