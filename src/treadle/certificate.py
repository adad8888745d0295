"""The certificate that the server shows: read from its files, and replaced while it serves."""

import logging
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.errors import OperatorError
from treadle.file_rights import Exposure, FileContent, describe_exposure, judge_rights

if TYPE_CHECKING:
    from cryptography import x509

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """Facts that are read from a certificate.

    Attributes:
        names: the host names and addresses that it is for.
        expires: the end of its validity, microseconds since 1970.
    """

    names: tuple[str, ...]
    expires: int


class ServedCertificate:
    """A certificate with its key, for a server, and whatever replaces it.

    A connection keeps what it began with; each new one gets what was read last.

    Args:
        cert: file with the certificate and those that lead to its authority, PEM.
        key: file with its key, PEM.

    Raises:
        OperatorError: they cannot be used; the text says why.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self.context = self._current = load_certificate(cert, key)
        # Not `load_cert_chain` on the context in use. It keeps a certificate for each kind of key,
        # so after a change from RSA to EC some clients would still get the old one; and if the
        # files change between the certificate and the key, it would be left with half of each.
        self.context.sni_callback = self._choose_current

    def reload(self) -> None:
        """Read the files again. What cannot be used is named in a log line and changes nothing."""
        try:
            self._current = load_certificate(self._cert, self._key)
        except OperatorError as error:
            logger.error("the certificate stays as it was: %s", error)  # noqa: TRY400 - a sentence
        else:
            names = ", ".join(read_certificate(self._cert).names)
            logger.info("new connections get the certificate for %s", names)

    def _choose_current(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Give a connection that begins the certificate that was read last."""
        connection.context = self._current


def load_certificate(cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return the TLS settings of a server with a certificate: TLS 1.2 or newer.

    Raises:
        OperatorError: a file is missing or cannot be used, or they do not belong together.
    """
    if cert is None or key is None:
        given, missing = ("tls_cert", "tls_key") if key is None else ("tls_key", "tls_cert")
        raise OperatorError(f"{given} is set and {missing} is not; set both, or neither of them")
    _check_key_rights(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password, since OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise OperatorError(
            f"the certificate {cert} and the key {key} cannot be used ({reason}): tls_cert is to "
            "hold a certificate in PEM, and tls_key the key that belongs to it, not encrypted"
        ) from error
    except OSError as error:
        raise OperatorError(
            f"the certificate {cert} or the key {key} cannot be read: {error.strerror}; name files "
            "that the user treadle runs as can read"
        ) from error
    read_certificate(cert)
    return context


def _check_key_rights(key: Path) -> None:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        raise OperatorError(
            f"the key {key} cannot be read: {error.strerror}; name a file that the user treadle "
            "runs as can read"
        ) from error
    if judge_rights(mode, FileContent.TLS_KEY) is Exposure.REFUSED:
        raise OperatorError(f"the key {key} {describe_exposure(mode)}: run `chmod go-wx,o-r {key}`")


def read_certificate(cert: Path) -> CertificateFacts:
    """Return what the first certificate of a file says.

    Raises:
        OperatorError: there is none, or it cannot be read.
    """
    # Imported here, because most servers have no certificate.
    from cryptography import x509

    try:
        first = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        expires = int(first.not_valid_after_utc.timestamp()) * 1_000_000
        names = _list_names(first)
    except OSError as error:
        raise OperatorError(
            f"the certificate {cert} cannot be read: {error.strerror}; name a file that the user "
            "treadle runs as can read"
        ) from error
    except ValueError as error:
        raise OperatorError(
            f"the file {cert} holds no certificate in PEM ({error}): name one that does"
        ) from error
    return CertificateFacts(names, expires)


def _list_names(found: "x509.Certificate") -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return (found.subject.rfc4514_string(),)
    names = extension.value
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))
