"""Operations on the streams of a source, which are the tables that it pushed."""

from dataclasses import dataclass

from treadle.control import errors, requests
from treadle.control.lookups import find_source, parse_id
from treadle.control.settings import ConnectApiSettings
from treadle.control.streams import render_stream, render_stream_schema
from treadle.store.model import Account, PushedTable, Source
from treadle.store.store import Store


@dataclass(frozen=True, slots=True)
class StreamOperations:
    """Lists streams, also of deleted sources, and refuses to change them.

    Attributes:
        store: sources and tables; every look-up is inside the account.
        settings: whether there are streams.
    """

    store: Store
    settings: ConnectApiSettings

    def list_streams(self, account: Account, source_id: str) -> object:
        """Serve `GET /v4/sources/{source_id}/streams`: the tables that were loaded or tried."""
        row = self._require_source(account, source_id)
        return [render_stream(table) for table in self._list_tables(row)]

    def get_stream(self, account: Account, source_id: str, stream_id: str) -> object:
        """Serve `GET /v4/sources/{source_id}/streams/{stream_id}`: fields and their types."""
        row = self._require_source(account, source_id, stream_id)
        number = parse_id(stream_id) if self.settings.lists_streams else None
        table = None if number is None else self.store.tables.find_pushed_table(row.id, number)
        if table is None:
            raise errors.stream_not_found(stream_id)
        return render_stream_schema(self.store.tables.get_kept_columns(table.id))

    def select_streams(self, account: Account, source_id: str, raw: bytes) -> object:
        """Serve `PUT /v4/sources/{source_id}/streams/metadata`: nothing of a table can be chosen.

        Raises:
            RequestRefusedError: a part of the body is missing, a stream is not known, or something
                of one is to be changed.
        """
        row = self._require_source(account, source_id)
        selected = requests.parse_selected_streams(raw)
        if not selected:
            return {"status": 200}
        known = {table.name for table in self._list_tables(row)}
        unknown = [one.shown for one in selected if one.id not in known]
        if unknown:
            raise errors.unknown_tap_streams(unknown)
        changed = dict.fromkeys(key for one in selected for key in one.keys)
        if changed:
            raise errors.read_only_metadata(tuple(changed))
        return {"status": 200}

    def _require_source(
        self, account: Account, source_id: str, stream_id: str | None = None
    ) -> Source:
        """Return a source; refuse an unknown one by the stream that is asked for, if one is."""
        row = find_source(self.store, account, source_id)
        if row is None:
            raise errors.stream_not_found(source_id if stream_id is None else stream_id)
        return row

    def _list_tables(self, row: Source) -> list[PushedTable]:
        return self.store.tables.list_pushed_tables(row.id) if self.settings.lists_streams else []
