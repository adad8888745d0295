"""What an edit makes of rejected records, before they are sent again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.errors import OperatorError
from treadle.log.joined import choose_reader
from treadle.log.protocol import LogReader
from treadle.records.edit import RecordEdit, apply_edit
from treadle.records.message_batch import MessageBatch
from treadle.records.record_reader import extract_texts
from treadle.tables.model import Rejection
from treadle.tracking.rejects import RejectedRecord, read_batch

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast


@dataclass(frozen=True, slots=True)
class EditedRecord:
    """A rejected record, and what an edit makes of it.

    Attributes:
        before: JSON text as sent; None where the log does not keep it.
        batch: what would be sent; None where it cannot be.
        refusal: why it cannot be sent; None where it can.
    """

    reject: RejectedRecord
    before: str | None
    batch: MessageBatch | None
    refusal: str | None

    @property
    def after(self) -> str | None:
        """Return the JSON text of the edited record; None where there is none."""
        return None if self.batch is None else extract_texts(self.batch, [0])[0]


def edit_records(
    reader: LogReader, rejects: Iterable[RejectedRecord], edit: RecordEdit
) -> list[EditedRecord]:
    """Edit rejected records as a resend would."""
    edited = []
    for reject in rejects:
        before = None
        try:
            kept = choose_reader(reader, reject.source_id).find_entries(reject.position, 1)
            batch = read_batch(reject, kept)
            [before] = extract_texts(batch, [reject.index])
            made = apply_edit(batch, reject.index, edit)
        except OperatorError as error:
            edited.append(EditedRecord(reject, before, None, str(error)))
        else:
            edited.append(EditedRecord(reject, before, made, None))
    return edited


def find_rejections(
    records: Sequence[EditedRecord], forecasts: "Iterable[LoadForecast]"
) -> Mapping[str, Rejection | str]:
    """Return id -> why a load would not take the record, for those that it would not take.

    Args:
        records: of one source, each with what would be sent.
        forecasts: for their batches, a table each.
    """
    found: dict[str, Rejection | str] = {}
    for forecast in forecasts:
        own = [
            one
            for one in records
            if one.batch is not None and one.batch.table_name == forecast.table_name
        ]
        if forecast.plan is None:
            found |= {one.reject.id: f"the table would stop: {forecast.stopped}" for one in own}
            continue
        for rejection in forecast.plan.rejections:
            if rejection.entry >= 0:
                found[own[rejection.entry].reject.id] = rejection
    return found
