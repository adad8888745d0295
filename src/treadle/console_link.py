"""The link that signs in to the console once (connect-rest.md A.2.8)."""


def make_console_link(base_url: str, console_path: str, token: str) -> str:
    """Return the URL that opens a session of the console.

    Args:
        base_url: of the server, as a browser reaches it.
        console_path: the path of the console.
        token: an ephemeral token.
    """
    return f"{base_url.rstrip('/')}{console_path}/login?ephemeral_token={token}"


def make_invite_link(base_url: str, console_path: str, secret: str) -> str:
    """Return the URL at which who was invited sets a password.

    Args:
        base_url: of the server, as a browser reaches it.
        console_path: the path of the console.
        secret: of the invitation.
    """
    return f"{base_url.rstrip('/')}{console_path}/invite?token={secret}"
