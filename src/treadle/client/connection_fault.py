"""Faults of a connection that no repetition cures, and which authorities a client trusts."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from treadle.errors import OperatorError

_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS connections that ended early: a server that restarts, a balancer without one behind it."""


def find_lasting_fault(error: BaseException, url: str) -> str | None:
    """Return what is wrong and what to do, if a request failed for what stays as it is.

    Args:
        error: of the request.
        url: of the server.

    Returns:
        None if the fault may pass by itself.
    """
    for cause in _list_causes(error):
        if isinstance(cause, _ENDED):
            continue
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {url} cannot be trusted: {cause.verify_message}; give the "
                "certificate of its authority with --ca FILE, or use a name that the certificate "
                "has"
            )
        if isinstance(cause, ssl.SSLError):
            if cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
                return f"{url} does not speak TLS; begin its URL with http:// instead"
            return f"no TLS connection to {url} can be made: {cause.reason or cause}"
    return None


def describe_fault(error: BaseException) -> str:
    """Return the reason of a failed request in a few words."""
    for cause in _list_causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
    return str(error) or type(error).__name__


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and all that led to it, each once."""
    causes: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        if one in causes:
            continue
        causes.append(one)
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
        left += [before for before in (one.__cause__, one.__context__) if before is not None]
    return causes


def explain_unauthorized(answer: str) -> str:
    """Return what an answer with the status 401 means, and what to do.

    Args:
        answer: status and text.
    """
    return (
        f"{answer}: the token was revoked or has ended, is of another server, or its source is "
        "paused; `treadle source list` shows the sources, `treadle token list SOURCE` their "
        "tokens, and TREADLE_PUSH_TOKEN gives another one"
    )


def make_trust(ca: Path | None, environ: Mapping[str, str] | None = None) -> ssl.SSLContext | None:
    """Return which authorities are trusted; None for those that are trusted anyway.

    Args:
        ca: a file with their certificates, which alone are trusted then.
        environ: SSL_CERT_FILE and SSL_CERT_DIR name them as well; that of this process when None.

    Raises:
        OperatorError: the file cannot be used.
    """
    variables = os.environ if environ is None else environ
    file = str(ca) if ca is not None else variables.get("SSL_CERT_FILE") or None
    folder = None if ca is not None else variables.get("SSL_CERT_DIR") or None
    if file is None and folder is None:
        return None
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except (OSError, ssl.SSLError) as error:
        named = "--ca" if ca is not None else "SSL_CERT_FILE"
        raise OperatorError(
            f"The certificates in {file}, which {named} names, cannot be used: "
            f"{getattr(error, 'reason', None) or getattr(error, 'strerror', None) or error}; "
            "expected a file with certificates in PEM."
        ) from error
