"""Decompresses gzip and zstd, recognized by their first bytes, one in the other too."""

import zlib
from collections.abc import Callable
from typing import IO, Final, Protocol

import zstandard

from treadle.record_files.record_block import RecordFileError

GZIP_MARK: Final = b"\x1f\x8b"
ZSTD_MARK: Final = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE_MARK: Final = b"\x2a\x4d\x18"
"""A frame that holds no data begins so, behind a byte from 0x50 to 0x5f."""

MARK_BYTES: Final = 4
LAYERS_MAX: Final = 4
"""Compression in compression is taken so deep."""

_INPUT_BYTES: Final = 64 * 1024


class ByteReader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class CountingReader:
    """Counts the bytes that are read of a file.

    Attributes:
        count: of the bytes so far.
    """

    def __init__(self, stream: ByteReader) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        found = self._stream.read(size)
        self.count += len(found)
        return found


class PeekReader:
    """Shows the first bytes of a stream before they are read."""

    def __init__(self, stream: ByteReader) -> None:
        self._stream = stream
        self._head = b""

    def peek(self, size: int) -> bytes:
        """Return the first bytes: so many, or fewer where the stream ends."""
        while len(self._head) < size and (more := self._stream.read(size - len(self._head))):
            self._head += more
        return self._head[:size]

    def peek_available(self, size: int) -> bytes:
        """Return at most so many first bytes, which one read gives."""
        if len(self._head) < size:
            self._head += self._stream.read(size - len(self._head))
        return self._head[:size]

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        if not self._head:
            return self._stream.read(size)
        found, self._head = self._head[:size], self._head[size:]
        return found


class _FrameReader:
    """Decompresses frames that follow each other."""

    def __init__(self, stream: ByteReader, name: str, make: Callable[[], "_FrameDecoder"]) -> None:
        self._stream = stream
        self._name = name
        self._make = make
        self._decoder = make()
        self._begun = False
        self._input = b""
        self._output = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._output:
            if not self._input:
                self._input = self._stream.read(_INPUT_BYTES)
                if not self._input:
                    if self._begun:
                        raise RecordFileError(
                            f"The {self._name} data ends in the middle: the file is not whole; "
                            "copy or download it again."
                        )
                    return b""
            if not self._begun and not self._input.strip(b"\0"):
                self._input = b""  # what some programs fill a last block with
                continue
            self._begun = True
            try:
                self._output = memoryview(self._decoder.decompress(self._input))
            except (zlib.error, zstandard.ZstdError) as error:
                raise RecordFileError(
                    f"The {self._name} data is damaged ({error}); copy or download the file again."
                ) from error
            self._input = b""
            if self._decoder.eof:
                self._input = self._decoder.unused_data
                self._decoder = self._make()
                self._begun = False
        found = bytes(self._output[:size])
        self._output = self._output[size:]
        return found


class _FrameDecoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def decompress(stream: ByteReader) -> PeekReader:
    """Return the bytes of a stream without its compression.

    Raises:
        RecordFileError: too many layers of compression. Reading raises it where the data is damaged
            or ends too early.
    """
    found = PeekReader(stream)
    for _ in range(LAYERS_MAX):
        mark = found.peek(MARK_BYTES)
        if mark.startswith(GZIP_MARK):
            found = PeekReader(_FrameReader(found, "gzip", _make_gzip_decoder))
        elif mark == ZSTD_MARK or mark[1:] == ZSTD_SKIPPABLE_MARK:
            found = PeekReader(_FrameReader(found, "zstd", _make_zstd_decoder))
        else:
            return found
    raise RecordFileError(f"The file is compressed more than {LAYERS_MAX} times; decompress it.")


def _make_gzip_decoder() -> _FrameDecoder:
    return zlib.decompressobj(wbits=31)


def _make_zstd_decoder() -> _FrameDecoder:
    # Files made with --long need a large window, and say so themselves.
    return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()


def read_whole(stream: ByteReader, target: IO[bytes]) -> None:
    """Copy what is left of a stream into a file."""
    while block := stream.read(1024 * 1024):
        target.write(block)
