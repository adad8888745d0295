"""Capabilities of a kind of destination. Callers choose by them and never by the kind's name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities that destinations may have or not.

    Attributes:
        transactional_ddl: a schema change is undone when its transaction is. Where it is not, a
            load that fails may leave columns and tables that its plan makes.
        multi_table_transaction: one transaction may write to several tables, so that no reader
            sees subtables without their parents.
        exclusive: nobody else can open the destination while a session is open, so whoever loads
            has to make pauses.
        sql_query: it answers SQL of the operator's (`Inspection.query`).
        row_compare: it compares the rows of two relations (`Inspection.compare`).
        atomic_offsets: an offset is committed in the transaction of its rows, under the same lock.
            So a loader that another one has overtaken commits nothing, and several can load
            different tables. Without it a table may get the rows of a load twice when its loader is
            lost.
        evictable: the sessions of a loader that was lost can be ended (`Session.evict`). Without
            it, its successor waits until the destination ends them by itself.
        load_age_seconds: age of the oldest waiting record at which a table is loaded, where no
            setting says so; None for that of all others. It is longer where each load leaves
            files of its own behind, or is paid for.
        load_price: what each load does there for that reason, and what comes of many of them.
    """

    transactional_ddl: bool = True
    multi_table_transaction: bool = True
    exclusive: bool = False
    sql_query: bool = True
    row_compare: bool = True
    atomic_offsets: bool = True
    evictable: bool = False
    load_age_seconds: float | None = None
    load_price: tuple[str, str] = ("", "")
