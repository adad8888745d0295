"""The certificate of a server: what can be used, and what takes its place."""

import logging
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from tests.servers.certificates import CertificateFiles, make_certificate

from treadle.certificate import ServedCertificate, load_certificate, read_certificate
from treadle.errors import OperatorError


def shown(served: ServedCertificate, trusted: CertificateFiles, name: str | None = None) -> str:
    """The subject of the certificate that a new connection is shown and verifies."""
    ours, theirs = socket.socketpair()
    client = ssl.create_default_context(cafile=str(trusted.cert))
    client.check_hostname = name is not None

    def serve() -> None:
        try:
            served.context.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as connection:
            found = connection.getpeercert(binary_form=True)
            assert found is not None
            return x509.load_der_x509_certificate(found).subject.rfc4514_string()
    finally:
        ours.close()
        thread.join(30)


def test_what_was_read_last_is_shown(tmp_path: Path) -> None:
    first = make_certificate(tmp_path, "first", kind="rsa")
    second = make_certificate(tmp_path, "second", kind="ec")
    files = make_certificate(tmp_path, "live")
    files.replace(first)
    served = ServedCertificate(files.cert, files.key)
    for name in ("localhost", None):
        assert shown(served, first, name) == "CN=first"
    # A key of another kind: nobody is shown the first one any more, whatever the client can do.
    files.replace(second)
    assert shown(served, first) == "CN=first"
    served.reload()
    for name in ("localhost", None):
        assert shown(served, second, name) == "CN=second"
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(served, first)


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: files.cert.write_bytes(b""),
        lambda files: files.cert.write_text("no PEM"),
        lambda files: files.cert.write_bytes(files.key.read_bytes()),
        lambda files: files.cert.write_bytes(files.cert.read_bytes()[:200]),
        lambda files: files.cert.unlink(),
        lambda files: files.key.write_bytes(b""),
        lambda files: files.key.write_bytes(files.key.read_bytes()[:100]),
        lambda files: files.key.unlink(),
        lambda files: files.key.chmod(0o644),
        lambda files: files.key.chmod(0o660),
        lambda files: files.replace(
            CertificateFiles(make_certificate(files.cert.parent, "other").cert, files.key)
        ),
        lambda files: files.replace(
            make_certificate(files.cert.parent, "encrypted", password=b"secret")
        ),
    ],
    ids=[
        "no certificate",
        "no PEM",
        "a key",
        "half a certificate",
        "certificate gone",
        "no key",
        "half a key",
        "key gone",
        "key readable",
        "key writable",
        "another certificate",
        "an encrypted key",
    ],
)
def test_what_cannot_be_used_is_named_and_changes_nothing(
    damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = make_certificate(tmp_path, "live")
    kept = make_certificate(tmp_path, "kept")
    kept.replace(files)
    served = ServedCertificate(files.cert, files.key)
    assert callable(damage)
    damage(files)
    with pytest.raises(OperatorError, match=r"live\.(pem|key)"):
        load_certificate(files.cert, files.key)
    served.reload()
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage().startswith("the certificate stays as it was: the ")
    assert shown(served, kept, "localhost") == "CN=live"


@pytest.mark.parametrize("given", ["tls_cert", "tls_key"])
def test_one_file_without_the_other_is_refused(given: str, tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    with pytest.raises(OperatorError, match=f"{given} is set and tls_"):
        load_certificate(
            files.cert if given == "tls_cert" else None, files.key if given == "tls_key" else None
        )


def test_old_versions_of_the_protocol_are_not_spoken(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    assert load_certificate(files.cert, files.key).minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_names_and_the_end_of_a_certificate_are_read(tmp_path: Path) -> None:
    hosts = ("a.example.com", "*.example.org", "192.0.2.1", "2001:db8::1")
    facts = read_certificate(make_certificate(tmp_path, hosts=hosts).cert)
    assert facts.names == hosts
    assert facts.expires > 1_700_000_000_000_000
    assert read_certificate(make_certificate(tmp_path, "bare", hosts=()).cert).names == ("CN=bare",)
