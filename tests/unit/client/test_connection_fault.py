"""Faults that no repetition cures, and who is trusted."""

import ssl
from pathlib import Path

import httpx
import pytest
from tests.servers.certificates import make_certificate

from treadle.client.connection_fault import (
    describe_fault,
    explain_unauthorized,
    find_lasting_fault,
    make_trust,
)
from treadle.errors import OperatorError

URL = "https://127.0.0.1:8484"


def chain(cause: Exception) -> httpx.ConnectError:
    """An error as httpx raises it: the cause is some errors away."""
    middle = OSError("in between")
    middle.__context__ = cause
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = middle
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def test_a_certificate_that_is_not_trusted_stays_so() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    told = find_lasting_fault(chain(cause), URL)
    assert told is not None
    assert told.startswith(f"the certificate of {URL} cannot be trusted: self-signed certificate;")
    assert "--ca FILE" in told


def test_a_server_without_tls_stays_so() -> None:
    told = find_lasting_fault(chain(tls_error("WRONG_VERSION_NUMBER")), URL)
    assert told == f"{URL} does not speak TLS; begin its URL with http:// instead"
    told = find_lasting_fault(chain(tls_error("NO_SHARED_CIPHER")), URL)
    assert told == f"no TLS connection to {URL} can be made: NO_SHARED_CIPHER"


@pytest.mark.parametrize("kind", [ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError])
def test_a_tls_connection_that_ends_early_may_be_made_later(kind: type[ssl.SSLError]) -> None:
    assert find_lasting_fault(chain(kind(8, "EOF occurred in violation of protocol")), URL) is None


def test_a_refused_connection_may_be_taken_later() -> None:
    error = chain(ConnectionRefusedError(111, "refused"))
    assert find_lasting_fault(error, URL) is None
    assert describe_fault(error) == "connection refused"
    group = chain(ExceptionGroup("all", [ConnectionRefusedError(111, "refused")]))
    assert describe_fault(group) == "connection refused"
    assert describe_fault(httpx.ReadTimeout("")) == "ReadTimeout"


def test_who_has_a_wrong_token_is_told_where_others_are() -> None:
    told = explain_unauthorized("http://t answers 401 {}")
    assert told.startswith("http://t answers 401 {}: the token was revoked or has ended, ")
    assert "`treadle token list SOURCE`" in told


def test_authorities_come_from_the_flag_then_from_the_environment(tmp_path: Path) -> None:
    mine = make_certificate(tmp_path, "mine").cert
    other = make_certificate(tmp_path, "other").cert
    assert make_trust(None, {}) is None
    by_flag = make_trust(mine, {"SSL_CERT_FILE": str(other)})
    by_variable = make_trust(None, {"SSL_CERT_FILE": str(other)})
    assert by_flag is not None
    assert by_variable is not None
    subjects = [trust.get_ca_certs()[0]["subject"] for trust in (by_flag, by_variable)]
    assert subjects == [((("commonName", "mine"),),), ((("commonName", "other"),),)]


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(OperatorError, match=r"ca\.pem, which --ca names, .* No such file"):
        make_trust(file, {})
    file.write_text("nothing")
    with pytest.raises(OperatorError, match=r"which SSL_CERT_FILE names, .* in PEM"):
        make_trust(None, {"SSL_CERT_FILE": str(file)})
