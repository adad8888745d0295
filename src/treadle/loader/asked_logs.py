"""The logs of which a destination was asked what it has committed."""

from dataclasses import dataclass

from treadle.clock import read_monotonic
from treadle.log.joined import FOLLOW_SECONDS, JoinedReader, find_log_number, list_readers
from treadle.log.protocol import LogReader


@dataclass(slots=True)
class AskedLogs:
    """The logs of which a destination was asked last: those that were open here then.

    The destination's thread uses it; that of its pipeline asks `was_asked`.

    Attributes:
        reader: of all logs; None until it is open.
    """

    reader: LogReader | None = None
    _numbers: frozenset[int] = frozenset()
    """Replaced as a whole."""
    _looked_at: int | None = None
    """When logs were last looked for that were not open, by `read_monotonic`."""

    def was_asked(self, source_id: int) -> bool:
        """Return whether the destination was asked of the log of a source.

        The log of a source is known by its number also where it is not open. What the reader opens
        for another reason, or later, does not count: nobody has asked the destination of it.
        """
        reader = self.reader
        return reader is not None and find_log_number(reader, source_id) in self._numbers

    @property
    def is_log_away(self) -> bool:
        """Whether logs were looked for a moment ago, so that it is too early to do it again.

        Until then what concerns a log that is not open waits, and all else is done.
        """
        at = self._looked_at
        return at is not None and read_monotonic() - at < FOLLOW_SECONDS * 1_000_000

    def list_log_ids(self, reader: LogReader) -> list[str]:
        """Return the ids of the logs that the destination is to be asked of, and note those.

        Logs that were away or were added since are opened before, every few seconds at most: to
        look for one that is away takes seconds, in which nothing is loaded.

        Raises:
            OperatorError: one cannot be opened.
            RetriableError: which logs there are cannot be found out now.
        """
        if isinstance(reader, JoinedReader) and reader.follows and not self.is_log_away:
            reader.open_missing()
            self._looked_at = None if reader.is_complete else read_monotonic()
        readers = list_readers(reader)
        # The answer comes before it is used. Until then a question that failed leaves offsets
        # unknown, and nothing is loaded.
        self._numbers = frozenset(readers)
        return [one.log_id for one in readers.values()]
