"""What the paths of pages name."""

from treadle.console.page_request import ConsoleServices, PageNotFoundError, PageRequest
from treadle.control.lookups import find_source, parse_id
from treadle.store.model import ConfiguredDestination, HookDelivery, PostLoadHook, Source


def require_source(services: ConsoleServices, request: PageRequest) -> Source:
    """Return the source that a path names, deleted ones too.

    Raises:
        PageNotFoundError: the account has none with it.
    """
    wanted = request.parts["source"]
    found = find_source(services.store, request.account, wanted)
    if found is None:
        raise PageNotFoundError(
            f"Your account has no source {wanted!r}. The page Sources lists those that it has."
        )
    return found


def require_destination(services: ConsoleServices, request: PageRequest) -> ConfiguredDestination:
    """Return the destination that a path names.

    Raises:
        PageNotFoundError: the account has none with it.
    """
    wanted = request.parts["destination"]
    number = parse_id(wanted)
    found = (
        None
        if number is None
        else services.store.destinations.find_destination(request.account.id, number)
    )
    if found is None or found.deleted_at is not None:
        raise PageNotFoundError(
            f"Your account has no destination {wanted!r}. The page Destinations lists those that "
            "it has."
        )
    return found


def require_hook(services: ConsoleServices, request: PageRequest) -> PostLoadHook:
    """Return the hook that a path names.

    Raises:
        PageNotFoundError: the account has none with it.
    """
    wanted = request.parts["hook"]
    number = parse_id(wanted)
    found = None if number is None else services.store.hooks.find_hook(request.account.id, number)
    if found is None:
        raise PageNotFoundError(
            f"Your account has no hook {wanted!r}. The page Hooks lists those that it has."
        )
    return found


def sees_records(services: ConsoleServices, request: PageRequest) -> bool:
    """Return whether a session sees the values of records."""
    return services.shows_payloads(request.session)


def require_delivery(
    services: ConsoleServices, request: PageRequest, hook: PostLoadHook
) -> HookDelivery:
    """Return the delivery of a hook that a path names.

    Raises:
        PageNotFoundError: the hook has none with it.
    """
    wanted = request.parts["delivery"]
    found = services.store.deliveries.find_delivery(hook.id, wanted)
    if found is None:
        raise PageNotFoundError(
            f"Hook {hook.id} has no delivery {wanted!r}. They are kept for 30 days."
        )
    return found
