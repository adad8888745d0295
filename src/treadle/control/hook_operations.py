"""The operations on post-load hooks and their deliveries (connect-api.md 2.13).

As in `operations`, everything here blocks, and `hook_routes` runs it in threads.
"""

import logging
from dataclasses import dataclass
from typing import Final

from treadle.control import errors, hook_requests, hook_schemas
from treadle.control.hook_responses import (
    render_delivery,
    render_hook,
    render_hook_state,
    render_trial,
)
from treadle.control.lookups import parse_id
from treadle.control.trials import TrialSender, encode_trial_body
from treadle.http.outbound_url import OutboundRules
from treadle.store.errors import DeliveryCountError, HookLimitError, NotFoundError
from treadle.store.model import Account, HookBacklog, PostLoadHook
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailOutcome, TrailTarget

logger: Final = logging.getLogger(__name__)
"""Logs ids only: the path of a URL may be a secret."""


@dataclass(frozen=True, slots=True)
class HookOperations:
    """The operations on hooks.

    Attributes:
        store: every look-up is inside the account.
        rules: which URLs a hook may have.
    """

    store: Store
    rules: OutboundRules

    # The documented calls ------------------------------------------------------------------------

    def list_hooks(self, account: Account) -> object:
        """Serve `GET .../hooks`: disabled ones too."""
        return {"post_load": [render_hook(one) for one in self.store.hooks.list_hooks(account.id)]}

    def create_hook(self, account: Account, raw: bytes) -> object:
        """Serve `POST .../hooks`."""
        asked = hook_requests.parse_hook_creation(raw, self.rules)
        try:
            made = self.store.hooks.create_hook(
                account.id, asked.url, destination_id=asked.destination_id
            )
        except NotFoundError as error:
            raise errors.hook_destination_not_found(asked.destination_id) from error
        except HookLimitError as error:
            raise errors.hook_limit_reached(error.limit) from error
        logger.info("account %d created hook %d", account.id, made.id)
        return render_hook(made)

    def enable_hook(self, account: Account, hook_id: str, raw: bytes) -> object:
        """Serve `PUT .../hooks/{id}`: enable or disable."""
        hook = self._find_hook(account, hook_id)
        if hook is None:
            raise errors.hook_unknown()
        enabled = hook_requests.parse_enable(raw)
        changed = self.store.hooks.update_hook(account.id, hook.id, enabled=enabled)
        if changed is None:
            raise errors.hook_unknown()
        logger.info(
            "account %d %s hook %d", account.id, "enabled" if enabled else "disabled", hook.id
        )
        return render_hook(changed)

    def delete_hook(self, account: Account, hook_id: str) -> object:
        """Serve `DELETE .../hooks/{id}`."""
        number = parse_id(hook_id)
        if number is None or not self.store.hooks.delete_hook(account.id, number):
            raise errors.hook_unknown()
        logger.info("account %d deleted hook %d", account.id, number)
        return None

    # The calls of our own ------------------------------------------------------------------------

    def list_hook_states(self, account: Account) -> object:
        """Serve `GET /v1/hooks`."""
        backlogs = self.store.hooks.list_backlogs()
        return {
            "hooks": [
                render_hook_state(hook, backlogs.get(hook.id, HookBacklog()))
                for hook in self.store.hooks.list_hooks(account.id)
            ]
        }

    def get_hook_state(self, account: Account, hook_id: str) -> object:
        """Serve `GET /v1/hooks/{hook_id}`."""
        return self._render_state(self._require_hook(account, hook_id))

    def change_hook(self, account: Account, hook_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/hooks/{hook_id}`: enable, pause, another URL, a secret."""
        hook = self._require_hook(account, hook_id)
        asked = hook_requests.parse_hook_change(raw, self.rules)
        if asked == hook_requests.HookChange():
            return self._render_state(hook)
        changed = self.store.hooks.update_hook(
            account.id,
            hook.id,
            enabled=asked.enabled,
            paused=asked.paused,
            url=asked.url,
            secret=asked.secret,
        )
        if changed is None:
            raise errors.hook_not_found(hook_id)
        logger.info("account %d changed hook %d", account.id, hook.id)
        return self._render_state(changed)

    def list_deliveries(
        self,
        account: Account,
        hook_id: str,
        state: str | None,
        before: str | None,
        limit: str | None,
    ) -> object:
        """Serve `GET /v1/hooks/{hook_id}/deliveries`, newest first."""
        hook = self._require_hook(account, hook_id)
        page = hook_requests.parse_delivery_page(state, before, limit)
        found = self.store.deliveries.list_deliveries(
            hook.id, state=page.state, before=page.before, limit=page.limit + 1
        )
        shown = found[: page.limit]
        return {
            "deliveries": [render_delivery(one) for one in shown],
            "next": shown[-1].id if len(found) > page.limit else None,
        }

    def send_delivery_again(self, account: Account, hook_id: str, delivery_id: str) -> object:
        """Serve `POST /v1/hooks/{hook_id}/deliveries/{delivery_id}/send-again`."""
        hook = self._require_hook(account, hook_id)
        if self.store.deliveries.find_delivery(hook.id, delivery_id) is None:
            raise errors.delivery_not_found(delivery_id)
        self.store.deliveries.send_again(account.id, hook.id, delivery_id=delivery_id)
        found = self.store.deliveries.find_delivery(hook.id, delivery_id)
        if found is None:
            raise errors.delivery_not_found(delivery_id)
        logger.info("account %d sends delivery %s again", account.id, found.id)
        return render_delivery(found)

    def send_failed_again(
        self, account: Account, hook_id: str, expected: int | None = None
    ) -> object:
        """Serve `POST /v1/hooks/{hook_id}/send-again`: all that were given up.

        Args:
            account: whose hook it is.
            hook_id: of the hook.
            expected: how many there have to be; None for any number.
        """
        hook = self._require_hook(account, hook_id)
        try:
            count = self.store.deliveries.send_again(account.id, hook.id, expected=expected)
        except DeliveryCountError as error:
            raise errors.delivery_count_differs(str(error)) from error
        logger.info("account %d sends %d deliveries of hook %d again", account.id, count, hook.id)
        return {"deliveries": count}

    def send_test(
        self, account: Account, hook_id: str, sender: TrialSender, now: int
    ) -> hook_schemas.HookTrialAnswer:
        """Serve `POST /v1/hooks/{hook_id}/test`: call it once, and wait for its answer.

        Args:
            account: whose hook it is.
            hook_id: of the hook.
            sender: sends it.
            now: microseconds since 1970.
        """
        hook = self._require_hook(account, hook_id)
        body = encode_trial_body(now)
        found = sender.send_delivery(hook, body)
        self.store.trail.record_event(
            TrailAction.TEST_HOOK,
            TrailTarget(TargetKind.HOOK, hook.id),
            TrailOutcome.DONE if found.is_success else TrailOutcome.FAILED,
            account_id=account.id,
            detail={"status": found.status},
        )
        logger.info("account %d tested hook %d", account.id, hook.id)
        return render_trial(hook, body, found)

    def _render_state(self, hook: PostLoadHook) -> object:
        return render_hook_state(hook, self.store.hooks.list_backlogs().get(hook.id, HookBacklog()))

    def _find_hook(self, account: Account, hook_id: str) -> PostLoadHook | None:
        number = parse_id(hook_id)
        return None if number is None else self.store.hooks.find_hook(account.id, number)

    def _require_hook(self, account: Account, hook_id: str) -> PostLoadHook:
        found = self._find_hook(account, hook_id)
        if found is None:
            raise errors.hook_not_found(hook_id)
        return found
