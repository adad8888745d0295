"""What users are held to: names, and that somebody can let the others in. Pure."""

from collections.abc import Sequence
from typing import Final

from treadle.errors import OperatorError
from treadle.store.model import ConsoleRole, ConsoleUser
from treadle.store.recipients import is_mail_address

NAME_CHARACTERS_MAX: Final = 100


class UserRuleError(OperatorError):
    """What is asked for of a user breaks a rule."""


class LastAdminError(OperatorError):
    """Nobody would be left who may let others in (console.md B.9)."""

    def __init__(self) -> None:
        super().__init__(
            "people are not left without an admin: make somebody else an admin first, who has "
            "accepted the invitation"
        )


def check_user(name: str, email: str) -> None:
    """Check the name and the address of a user.

    Raises:
        UserRuleError: with what is expected.
    """
    if not name.strip() or len(name) > NAME_CHARACTERS_MAX:
        raise UserRuleError(f"a name has 1 to {NAME_CHARACTERS_MAX} characters")
    if not is_mail_address(email):
        raise UserRuleError(
            "an e-mail address has one @ with a dot behind it, and no blanks, quotes or brackets"
        )


def require_admin_left(before: Sequence[ConsoleUser], after: Sequence[ConsoleUser]) -> None:
    """Check that a change leaves an admin among the users of an account, or no user at all.

    An invited admin counts only where no admin had accepted before, too.

    Args:
        before: the users of the account, or of the installation.
        after: the same after the change.

    Raises:
        LastAdminError: it would not.
    """
    if not after:
        return
    admins = [one for one in after if is_admin(one)]
    had_active = any(one.has_password for one in before if is_admin(one))
    if not admins or (had_active and not any(one.has_password for one in admins)):
        raise LastAdminError


def is_admin(user: ConsoleUser) -> bool:
    """Return whether a user is an admin who is not disabled."""
    return user.role == ConsoleRole.ADMIN and user.disabled_at is None
