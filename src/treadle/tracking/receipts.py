"""Receipts of accepted requests. They name entries of the log, so nothing is stored for them."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

import msgspec

RECEIPT_HEADER = "Treadle-Receipt"
RECEIPT_PREFIX = "rc_"
MAC_BYTES = 8

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, int, int])


@dataclass(frozen=True, slots=True)
class Receipt:
    """The entries of one accepted request.

    Attributes:
        source_id: the source that pushed.
        first: position of the first entry.
        entries: number of entries; they follow each other without a gap.
    """

    source_id: int
    first: int
    entries: int


class ReceiptCodec:
    """Encodes receipts as texts and decodes them.

    Attributes:
        log_id: the log whose entries they name.
    """

    def __init__(self, installation_id: str, log_id: str) -> None:
        """Sign for one installation and one log, so that positions of another are not believed.

        The signature keeps typing errors and guesses from being looked up. It guards no secret:
        whoever asks for a receipt shows a token of the source or of its account too. So 8 bytes
        are enough.
        """
        self.log_id = log_id
        key = hashlib.sha256(f"treadle receipt {installation_id} {log_id}".encode()).digest()
        self._keyed = hashlib.blake2b(digest_size=MAC_BYTES, key=key)

    def encode(self, receipt: Receipt) -> str:
        """Return the text of a receipt: `rc_` and URL-safe characters, about 25 in all."""
        body = _encoder.encode((receipt.source_id, receipt.first, receipt.entries))
        text = base64.urlsafe_b64encode(body + self._sign(body)).rstrip(b"=")
        return RECEIPT_PREFIX + text.decode("ascii")

    def decode(self, text: str) -> Receipt | None:
        """Return the receipt of a text; None when this codec did not make it."""
        if not text.startswith(RECEIPT_PREFIX) or not text.isascii():
            return None
        encoded = text.removeprefix(RECEIPT_PREFIX)
        try:
            signed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
            body, mac = signed[:-MAC_BYTES], signed[-MAC_BYTES:]
            if not hmac.compare_digest(mac, self._sign(body)):
                return None
            return Receipt(*_decoder.decode(body))
        except (binascii.Error, msgspec.MsgspecError):
            return None

    def _sign(self, body: bytes) -> bytes:
        mac = self._keyed.copy()
        mac.update(body)
        return mac.digest()
