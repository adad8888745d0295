"""Receipts of accepted requests. They name entries of the log, so nothing is stored for them."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from treadle.log.joined import JoinedAppender, JoinedReader
from treadle.log.protocol import LogAppender, LogReader

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

    The text of a receipt does not name the log: that is the log of its source.
    """

    def __init__(
        self,
        installation_id: str,
        log_id: str,
        list_log_ids: Callable[[], Iterable[str]] | None = None,
        find_log_id: Callable[[int], str] | None = None,
    ) -> None:
        """Sign for one installation and the log of a source, so that others are not believed.

        The signature keeps typing errors and guesses from being looked up. It guards no secret:
        whoever asks for a receipt shows a token of the source or of its account too. So 8 bytes
        are enough.

        Args:
            installation_id: of the store.
            log_id: the log whose entries the receipts name.
            list_log_ids: returns the ids of all logs, where there may be several.
            find_log_id: source id -> the id of its log; None where there is one log.
        """
        self._log_id = log_id
        self._find_log_id = find_log_id
        self._keyed = _make_keyed(installation_id, log_id)
        self._installation_id = installation_id
        self._list_log_ids = list_log_ids
        self._of_logs = {log_id: self._keyed}

    def get_log_id(self, source_id: int) -> str:
        """Return the id of the log that has the entries of a source."""
        return self._log_id if self._find_log_id is None else self._find_log_id(source_id)

    def encode(self, receipt: Receipt) -> str:
        """Return the text of a receipt: `rc_` and URL-safe characters, about 25 in all."""
        body = _encoder.encode((receipt.source_id, receipt.first, receipt.entries))
        keyed = self._keyed
        if self._find_log_id is not None:
            keyed = self._get_keyed(self._find_log_id(receipt.source_id))
        text = base64.urlsafe_b64encode(body + _sign(keyed, body)).rstrip(b"=")
        return RECEIPT_PREFIX + text.decode("ascii")

    def decode(self, text: str) -> Receipt | None:
        """Return the receipt of a text; None when this codec did not make it."""
        if not text.startswith(RECEIPT_PREFIX) or not text.isascii():
            return None
        encoded = text.removeprefix(RECEIPT_PREFIX)
        try:
            signed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
            body, mac = signed[:-MAC_BYTES], signed[-MAC_BYTES:]
            ids = (self._log_id,) if self._list_log_ids is None else self._list_log_ids()
            keys = [self._get_keyed(log_id) for log_id in ids]
            # The keys of logs differ, so one of them at most fits: that of the source's log.
            if not any(hmac.compare_digest(mac, _sign(keyed, body)) for keyed in keys):
                return None
            return Receipt(*_decoder.decode(body))
        except (binascii.Error, msgspec.MsgspecError):
            return None

    def _get_keyed(self, log_id: str) -> "hashlib.blake2b":
        found = self._of_logs.get(log_id)
        if found is None:
            found = self._of_logs[log_id] = _make_keyed(self._installation_id, log_id)
        return found


def make_receipt_codec(installation_id: str, log: LogReader | LogAppender) -> ReceiptCodec:
    """Return the codec of the receipts of a log, or of several that are open as one."""
    if isinstance(log, JoinedReader | JoinedAppender):
        return ReceiptCodec(installation_id, log.log_ids[0], lambda: log.log_ids, log.find_log_id)
    return ReceiptCodec(installation_id, log.log_id)


def _make_keyed(installation_id: str, log_id: str) -> "hashlib.blake2b":
    key = hashlib.sha256(f"treadle receipt {installation_id} {log_id}".encode()).digest()
    return hashlib.blake2b(digest_size=MAC_BYTES, key=key)


def _sign(keyed: "hashlib.blake2b", body: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(body)
    return mac.digest()
