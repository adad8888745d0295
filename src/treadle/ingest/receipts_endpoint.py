"""`GET /v1/receipts/{id}`: tells what became of an accepted request."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.headers import read_peer, select_headers
from treadle.http.responses import JsonResponse
from treadle.ingest.endpoint import NOT_AUTHORIZED, NOT_FOUND
from treadle.store.model import TokenHolder, TokenOwner
from treadle.store.sources import SourceRepository
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipt_status import read_receipt_status
from treadle.tracking.receipts import Receipt, ReceiptCodec

WAIT_SECONDS_MAX = 60.0
"""Longest wait for loading in one request: what proxies commonly allow."""

DETAILS_GONE = {"message": "All of this was loaded, and details are no longer kept."}
INVALID_WAIT = {"message": f"wait is a number of seconds from 0 to {WAIT_SECONDS_MAX:.0f}"}


@dataclass(frozen=True, slots=True)
class ReceiptsEndpoint:
    """Tells the owner of a receipt what became of its request.

    Attributes:
        count_use: counts a use of an account token, by its id and the address of the client.
    """

    authentication: TokenAuthentication[TokenHolder, TokenOwner]
    sources: SourceRepository
    receipts: ReceiptCodec
    progress: LoadProgress
    count_use: Callable[[int, str | None], None]

    async def get(self, request: Request) -> Response:
        """Answer with one element for each table of the request."""
        text = request.path_params["id"]
        receipt = await self._authorize(request, text)
        seconds = parse_wait_seconds(request.query_params.get("wait", "0"))
        if seconds is None:
            raise RequestRefusedError(400, INVALID_WAIT)
        entries = await self.progress.read_entries(
            receipt.source_id, receipt.first, receipt.entries
        )
        if not entries:
            raise RequestRefusedError(410, DETAILS_GONE)
        # A damaged entry may have lost the name of its table: nothing tells when it is loaded.
        places = [(entry.table_name, entry.position) for entry in entries if entry.table_name]
        await self.progress.wait_until_loaded(receipt.source_id, places, seconds)
        statuses = await self.progress.get_statuses(receipt.source_id)
        status = await self.progress.run_in_thread(
            lambda: read_receipt_status(
                text,
                receipt,
                entries,
                statuses,
                store=self.progress.store,
                find_keys=partial(self.progress.find_keys, receipt.source_id),
                codec=self.receipts,
            )
        )
        return JsonResponse(status)

    async def _authorize(self, request: Request, text: str) -> Receipt:
        """Return the receipt, if the token is one of its source or of the source's account."""
        asking = await self.authentication.find_either(select_headers(request.scope))
        if asking is None:
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        receipt = self.receipts.decode(text)
        if receipt is None:
            raise RequestRefusedError(404, NOT_FOUND)
        if isinstance(asking, TokenOwner):
            owned = asking.source_id == receipt.source_id
        else:
            self.count_use(asking.token_id, read_peer(request.scope))
            account_id = asking.account.id
            found = await self.progress.run_in_thread(
                lambda: self.sources.get_source(account_id, receipt.source_id)
            )
            owned = found is not None
        if not owned:
            raise RequestRefusedError(404, NOT_FOUND)
        return receipt


def parse_wait_seconds(text: str) -> float | None:
    """Return the seconds that a client asks to wait; None for what is no such number."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds >= 0 else None
