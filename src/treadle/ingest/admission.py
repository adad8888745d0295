"""The checks that every write has to pass before its batches go to the log.

Two orders of these checks are documented, and clients can tell them apart by the answer to a
request with more than one fault:

* an error in the body of a push is answered before an error in its token (import-api.md 7.2);
* a batch, a webhook and raw records are refused for their token before anything is read
  (import-api.md 9.2).

In both, the token is looked up first, so that only its owner can fill memory and use threads. Of a
push by a stranger, a small part is read, to answer an error in it.

In both, the first use of a token is noted last: a refused request is no use of it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.requests import Request

from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.caller import mark_caller_known
from treadle.http.headers import read_media_type, read_peer, select_headers
from treadle.http.limits import check_declared_length
from treadle.ingest.body_executor import INLINE_BYTES_MAX, BodyExecutor
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.body_threads import BodyThreads
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.quotas import SourceQuotas
from treadle.ingest.stranger_allowance import StrangerAllowance, close_after, close_unread
from treadle.ingest.token_cache import TokenCache
from treadle.step_check import StepCheck, pass_step
from treadle.store.model import TokenHolder, TokenOwner

JSON_TYPE = "application/json"
TRANSIT_TYPE = "application/transit+json"
WRONG_TYPE = "Content-Type must be application/json"

T = TypeVar("T")


class RequestAdmission:
    """Lets requests in, one check after the other.

    Attributes:
        get_known_owner: digest of an import token -> who may push with it without anything to ask
            first; None where that is not sure.
        get_account: digest of an import token -> whose it is, as far as memory knows; None where it
            is nobody's.
        count_use: counts a use of a token that was used before.
        authentication: who may push, by headers.
        executor: decodes bodies; a large one does not keep other requests waiting.
        threads: decompress and decode large bodies, each source in its turn.
        budget: reads bodies, and counts them from their arrival to the answer.
        strangers: reads what little is read of bodies without a known token.
        quotas: keeps each source within its quota.
    """

    def __init__(
        self,
        authentication: TokenAuthentication[TokenHolder, TokenOwner],
        token_cache: TokenCache,
        executor: BodyExecutor,
        threads: BodyThreads,
        budget: BodyMemoryBudget,
        quotas: SourceQuotas,
    ) -> None:
        """Ask nothing before the first request.

        Args:
            authentication: becomes an attribute.
            token_cache: who may push, by token.
            executor: becomes an attribute.
            threads: becomes an attribute.
            budget: becomes an attribute.
            quotas: becomes an attribute.
        """
        # Bound methods: the fast path calls them for each request, without a layer between.
        self.get_known_owner = token_cache.get_known_owner
        self.get_account = token_cache.get_account
        self.count_use = token_cache.count_use
        self.budget = budget
        self.quotas = quotas
        self.authentication = authentication
        self._token_cache = token_cache
        self.executor = executor
        self.threads = threads
        self.strangers = StrangerAllowance()

    async def admit_first(
        self, headers: Mapping[str, str], token: str | None = None, client_id: str | None = None
    ) -> TokenOwner:
        """Check all that can be checked before the body is read.

        Args:
            headers: of the request.
            token: where it is not in the headers but in the URL; it may be a webhook token.
            client_id: the account that the token has to belong to; None for any.

        Raises:
            RequestRefusedError: 413, the declared length is above the limit; 401, nobody may push
                with this token.
            QuotaReachedError: its source has used what it may.
            RetriableError: the token is not in memory and the store cannot be asked.
        """
        try:
            check_declared_length(headers)
        except RequestRefusedError as refused:
            if await self._find_owner(headers, token) is None:
                raise close_after(refused) from None
            raise
        owner = await self._find_owner(headers, token)
        if owner is None or client_id not in (None, str(owner.account_id)):
            raise close_unread(RequestRefusedError(401, NOT_AUTHORIZED), headers)
        if not owner.active:
            raise RequestRefusedError(401, NOT_ACTIVE)
        self.quotas.admit(owner)
        return owner

    async def _find_owner(self, headers: Mapping[str, str], token: str | None) -> TokenOwner | None:
        if token is None:
            return await self.authentication.find_owner(headers)
        owner = await self._token_cache.find_sender(token)
        if owner is not None:
            mark_caller_known(owner.account_id)
        return owner

    async def decode(
        self, request: Request, owner: TokenOwner, weight: int, do: Callable[[StepCheck], T]
    ) -> T:
        """Run something that decodes a body, and return its result.

        Args:
            request: its body was read.
            owner: whose body it is.
            weight: how long it takes, as a size of plain JSON in bytes.
            do: the work; it calls the check that it gets between its steps.

        Raises:
            ClientDisconnect: the sender has left; nobody waits for an answer.
            RequestRefusedError: the work took too much processor time, or what `do` raises.
        """
        if weight <= INLINE_BYTES_MAX:
            return do(pass_step)
        return await self.threads.run(owner.source_id, do, request.receive)

    async def record_use(
        self,
        request: Request,
        owner: TokenOwner,
        token: str | None = None,
        refusal: object = NOT_AUTHORIZED,
    ) -> None:
        """Count a use of a token; the first one is in the store when this returns.

        The token is looked up once more: a body may come for minutes, in which it was revoked.

        Args:
            request: its body was read.
            owner: of the token, when the request began.
            token: see `admit_first`.
            refusal: the body of the 401.

        Raises:
            RequestRefusedError: 401 with this body, the token was revoked or replaced meanwhile;
                401, its source was paused or deleted.
            RetriableError: it is the first use and the store cannot be written, or the token is not
                in memory any more and the store cannot be asked.
        """
        now = await self._find_owner(select_headers(request.scope), token)
        if now is None:
            raise RequestRefusedError(401, refusal)
        if not now.active:
            raise RequestRefusedError(401, NOT_ACTIVE)
        if not await self._token_cache.record_use(owner, read_peer(request.scope)):
            raise RequestRefusedError(401, refusal)


def check_json_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not declared as JSON (import-api.md 9.2).

    Raises:
        RequestRefusedError: 415.
    """
    if read_media_type(headers).lower() != JSON_TYPE:
        raise RequestRefusedError(415, WRONG_TYPE)


def is_transit(headers: Mapping[str, str]) -> bool:
    """Return whether a pushed body is Transit and not JSON (import-api.md 7.2).

    Raises:
        RequestRefusedError: 415, it is neither.
    """
    sent = read_media_type(headers)
    name = sent.lower()
    if name not in (JSON_TYPE, TRANSIT_TYPE):
        message = f"Unsupported content-type {sent}. Please send {JSON_TYPE} or {TRANSIT_TYPE}"
        raise RequestRefusedError(415, {"status": "ERROR", "message": message})
    return name == TRANSIT_TYPE
