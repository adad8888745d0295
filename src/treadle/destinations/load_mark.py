"""The last load of a table of a log, as destinations without SQL keep it. Functions of values."""

import msgspec

from treadle.destinations.layout import decode_result, digest_name, encode_result
from treadle.destinations.protocol import CommittedOffset, LoadResult
from treadle.tables.model import OffsetCommit


class LoadMark(msgspec.Struct, frozen=True):
    """The last load of one table of one log; see `OffsetCommit`."""

    log_id: str
    source_id: int
    table_name: str
    position: int
    fence: int
    report: str
    result: str

    @property
    def offset(self) -> CommittedOffset:
        """The load as sessions tell of it."""
        return CommittedOffset(self.position, self.report, decode_result(self.result))


def digest_mark(log_id: str, source_id: int, table_name: str) -> str:
    """Return the name of a mark."""
    return digest_name(f"{log_id}\0{source_id}\0{table_name}")[:32]


def make_mark(mark: OffsetCommit, result: LoadResult) -> LoadMark:
    """Return what is kept of a load: the offset of its plan, and its result."""
    return LoadMark(
        mark.log_id,
        mark.source_id,
        mark.table_name,
        mark.position,
        mark.fence,
        mark.report,
        encode_result(result),
    )
