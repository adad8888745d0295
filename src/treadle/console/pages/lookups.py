"""What the paths of pages name, and what a session may see of records."""

from typing import Final

from treadle.console import view
from treadle.console.page_request import ConsoleServices, PageNotFoundError, PageRequest
from treadle.control.lookups import find_source, parse_id
from treadle.store.model import ConfiguredDestination, HookDelivery, PostLoadHook, Source
from treadle.tables.rejection_reason import RejectionCode

REASON_CHARACTERS_MAX: Final = 300

TROUBLE_WITHOUT_VALUES: Final = "records of the last load were rejected; the page Rejected has why"
"""In place of a text that names a record and its reason."""


def read_choice(text: str) -> int | None:
    """Return the id that a field of a form chooses; None for the choice of none.

    0, which nothing has, stands for a text that is no id, so that it is refused as one.
    """
    return (parse_id(text) or 0) if text else None


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


def describe_reason(text: str, code: RejectionCode, field: str | None, *, may_see: bool) -> str:
    """Return why a record was rejected as a session may see it. Pure.

    Args:
        text: the reason. It may hold the value that was rejected.
        code: of the cause.
        field: to blame; None where none is.
        may_see: the session sees the values of records. Without it the text is not used.
    """
    if may_see:
        return view.show_text(text, REASON_CHARACTERS_MAX)
    words = view.format_words(code.value)
    return words if field is None else f"{words}: {view.show_text(field, REASON_CHARACTERS_MAX)}"


def describe_trouble(text: str, *, may_see: bool) -> str:
    """Return what somebody should know of the last load, as a session may see it. Pure.

    Args:
        text: as the loader wrote it. It has the reason of a rejected record.
        may_see: the session sees the values of records.
    """
    return text if may_see else TROUBLE_WITHOUT_VALUES


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
