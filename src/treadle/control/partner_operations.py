"""The operation of a partner: it makes accounts."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from treadle.control import errors
from treadle.control.partner import CreationRate, PartnerCredentials
from treadle.control.partner_requests import parse_account_creation, parse_partner_body
from treadle.control.refusal_allowance import RefusalAllowance
from treadle.control.routes import describe_answer
from treadle.errors import RequestRefusedError
from treadle.store.errors import AccountLimitError, OwnerTakenError
from treadle.store.store import Store
from treadle.store.trail_event import (
    LOCAL_ADDRESS,
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailOutcome,
    TrailTarget,
)

logger: Final = logging.getLogger(__name__)
"""Logs ids only, as `operations` does."""

NOBODY: Final = 0
"""In place of an account in the allowance of refusals: the account does not exist yet."""


@dataclass(frozen=True, slots=True)
class PartnerOperations:
    """Makes accounts for the partner.

    Attributes:
        store: gets them.
        credentials: of the partner.
        accounts_max: most accounts of the server that it may make; 0 for no bound.
        note_stranger: called on the event loop with the address of a client with wrong credentials.
        rate: bounds how many are made.
        refusals: bounds the events of refused requests. A request with wrong credentials has none:
            strangers would fill the trail.
    """

    store: Store
    credentials: PartnerCredentials
    accounts_max: int = 0
    note_stranger: Callable[[str], None] = lambda address: None
    rate: CreationRate = field(default_factory=CreationRate)
    refusals: RefusalAllowance = field(default_factory=RefusalAllowance)

    def admit(self, raw: bytes, address: str | None) -> dict[str, Any]:
        """Return the body of a request with the partner's credentials.

        Raises:
            RequestRefusedError: it is no such request.
        """
        try:
            return parse_partner_body(raw, self.credentials)
        except RequestRefusedError:
            self.note_stranger(address or "")
            raise

    def create_account(self, body: dict[str, Any], address: str | None) -> object:
        """Serve `POST /v3/accounts`, after `admit`.

        Raises:
            RequestRefusedError: it is refused; the trail says so.
            RetriableError: the store is not available, also for the record of a refusal.
        """
        actor = StoreActor(ActorKind.PARTNER, self.credentials.partner_id, address or LOCAL_ADDRESS)
        store = self.store.for_actor(actor)
        try:
            return self._create_account(store, body)
        except RequestRefusedError as refused:
            left_out = self.refusals.take(NOBODY)
            if left_out is not None:
                store.trail.record_event(
                    TrailAction.CREATE_ACCOUNT,
                    TrailTarget(TargetKind.ACCOUNT),
                    TrailOutcome.REFUSED,
                    detail=describe_answer(refused)
                    | ({"left_out_before": left_out} if left_out else {}),
                )
            raise

    def _create_account(self, store: Store, body: dict[str, Any]) -> object:
        asked = parse_account_creation(body)
        if not self.rate.take():
            raise errors.too_many_accounts("Too many accounts were created in this minute.")
        try:
            account, token = store.accounts.create_account(
                asked.company, owner=asked.owner, accounts_max=self.accounts_max
            )
        except OwnerTakenError as error:
            raise errors.owner_has_account() from error
        except AccountLimitError as error:
            raise errors.too_many_accounts(
                f"This server already has the maximum of {error.limit} accounts."
            ) from error
        logger.info("the partner created account %d", account.id)
        return {"access_token": token, "stitch_account_id": account.id}
