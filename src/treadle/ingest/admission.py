"""The checks that every write has to pass before its batches go to the log.

Two orders of these checks are documented, and clients can tell them apart by the answer to a
request with more than one fault:

* a push is read and parsed before its token is looked at (import-api.md 7.2);
* a batch, a webhook and raw records are refused for their token before anything is read, so that
  only the owner of a token can fill memory (import-api.md 9.2).

In both, a token that is used for the first time is noted last: what is refused does not use it.
"""

from collections.abc import Mapping

from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.caller import mark_caller_known
from treadle.http.headers import read_media_type
from treadle.http.limits import check_declared_length
from treadle.ingest.body_executor import BodyExecutor
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.token_cache import TokenCache
from treadle.store.model import Account, TokenOwner

JSON_TYPE = "application/json"
TRANSIT_TYPE = "application/transit+json"
WRONG_TYPE = "Content-Type must be application/json"


class RequestAdmission:
    """Lets requests in, one check after the other.

    Attributes:
        get_known_owner: digest of an import token -> who may push with it without anything to ask
            first; None where that is not sure.
        has_token: digest of an import token -> whether it is somebody's, as far as memory knows.
        count_use: counts a use of a token that was used before.
        authentication: who may push, by headers.
        executor: decodes bodies; a large one does not keep other requests waiting.
        budget: reads bodies, and counts them from their arrival to the answer.
    """

    def __init__(
        self,
        authentication: TokenAuthentication[Account, TokenOwner],
        token_cache: TokenCache,
        executor: BodyExecutor,
        budget: BodyMemoryBudget,
    ) -> None:
        """Ask nothing before the first request.

        Args:
            authentication: becomes an attribute.
            token_cache: who may push, by token.
            executor: becomes an attribute.
            budget: becomes an attribute.
        """
        # Bound methods: the fast path calls them for each request, without a layer between.
        self.get_known_owner = token_cache.get_known_owner
        self.has_token = token_cache.has_token
        self.count_use = token_cache.count_use
        self.budget = budget
        self.authentication = authentication
        self._token_cache = token_cache
        self.executor = executor

    async def admit_first(
        self, headers: Mapping[str, str], token: str | None = None, client_id: str | None = None
    ) -> TokenOwner:
        """Check all that can be checked before the body is read.

        Args:
            headers: of the request.
            token: where it is not in the headers.
            client_id: the account that the token has to belong to; None for any.

        Raises:
            RequestRefusedError: 413, the declared length is above the limit; 401, nobody may push
                with this token.
            RetriableError: the token is not in memory and the store cannot be asked.
        """
        check_declared_length(headers)
        if token is None:
            owner = await self.authentication.find_owner(headers)
        else:
            owner = await self._token_cache.find_owner(token)
            if owner is not None:
                mark_caller_known()
        if owner is None or client_id not in (None, str(owner.account_id)):
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        if not owner.active:
            raise RequestRefusedError(401, NOT_ACTIVE)
        return owner

    async def record_use(self, owner: TokenOwner, refusal: object = NOT_AUTHORIZED) -> None:
        """Count a use of a token; the first one is in the store when this returns.

        Raises:
            RequestRefusedError: 401 with this body, the token was replaced a moment ago.
            RetriableError: it is the first use and the store cannot be written.
        """
        if not await self._token_cache.record_use(owner):
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
