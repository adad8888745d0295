"""Operations on what only sources that treadle pulls from would have (connect-api.md 5).

Every source is pushed to, so that there are no extractions, checks and jobs. The answers are those
that clients get for a source of which nothing was found yet.
"""

from dataclasses import dataclass

from treadle.control import errors, paging
from treadle.control.lookups import find_source, require_own_account
from treadle.store.model import Account, Source
from treadle.store.store import Store


@dataclass(frozen=True, slots=True)
class PulledSourceOperations:
    """Answers questions about extractions, checks and jobs.

    Attributes:
        store: sources; every look-up is inside the account.
    """

    store: Store

    def list_extractions(self, account: Account, client_id: str, page: str | None) -> object:
        """Serve `GET /v4/{client_id}/extractions`: nothing is extracted."""
        require_own_account(account, client_id)
        nothing: tuple[object, ...] = ()
        return paging.render_page(nothing, page, f"/v4/{account.id}/extractions", lambda row: row)

    def get_extraction_log(self, account: Account, client_id: str) -> object:
        """Serve `GET /v4/{client_id}/extractions/{job_name}`: without jobs there are no logs."""
        require_own_account(account, client_id)
        raise errors.route_not_found()

    def get_last_check(self, account: Account, source_id: str) -> object:
        """Serve `GET /v4/sources/{source_id}/last-connection-check`."""
        row = find_source(self.store, account, source_id)
        if row is None:
            raise errors.source_not_found(source_id, status=404)
        raise errors.connection_check_not_found(row.id)

    def start_job(self, account: Account, source_id: str) -> object:
        """Serve `POST /v4/sources/{source_id}/sync`: refuse at once, there is nothing to start."""
        row = self._require_job_source(account, source_id)
        if row.deleted_at is not None:
            raise errors.job_source_deleted()
        raise errors.job_not_created(row.id, account.id)

    def stop_job(self, account: Account, source_id: str) -> object:
        """Serve `DELETE /v4/sources/{source_id}/sync`: nothing runs, so it is stopped."""
        self._require_job_source(account, source_id)
        return {"status": 200}

    def _require_job_source(self, account: Account, source_id: str) -> Source:
        row = find_source(self.store, account, source_id)
        if row is None:
            raise errors.job_source_not_found(source_id, account.id)
        return row
