"""Bodies that come compressed: inflated under the bounds of those that do not, so that a bomb costs what a body does."""

from __future__ import annotations

import zlib

import cramjam

from gateway.http.problems import Refused

CODINGS = ("gzip", "zstd")
ZSTD = b"\x28\xb5\x2f\xfd"
MOST_WINDOW = 8 * 1024 * 1024
"""Bytes of memory that a zstd frame may ask for: what RFC 8878 says that every decoder should have."""


def inflate(coding: str, raw: bytes, most: int) -> bytes:
    """Return a body as it was before it was compressed.

    Raises:
        Refused: it is not of that coding, or longer than `most`, or wants more memory than it may have.
    """
    match coding:
        case "" | "identity":
            return raw
        case "gzip" | "x-gzip":
            return _gzip(raw, most)
        case "zstd":
            return _zstd(raw, most)
    text = f"Content-Encoding {coding[:40]!r} is not read; {' and '.join(CODINGS)} are"
    raise Refused("unsupported-media-type", text, headers={"accept-encoding": ", ".join(CODINGS)})


def _gzip(raw: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(raw, most + 1)
    except zlib.error as fault:
        raise Refused("malformed", "the body is no gzip") from fault
    if len(found) > most:
        raise Refused("too-large", f"inflated it has more than {most} bytes")
    if not stream.eof:
        raise Refused("malformed", "the gzip body ends too early")
    if stream.unused_data:
        raise Refused("malformed", "bytes are left over behind the gzip body")
    return found


def _zstd(raw: bytes, most: int) -> bytes:
    if _window(raw) > MOST_WINDOW:
        raise Refused("too-large", f"the zstd frame wants a window of more than {MOST_WINDOW} bytes")
    if _end(raw) != len(raw):
        # A second frame would ask for memory of its own.
        raise Refused("malformed", "the zstd body ends too early, or bytes are left over behind its frame")
    room = bytearray(most + 1)
    try:
        written = cramjam.zstd.decompress_into(raw, room)
    except cramjam.DecompressionError as fault:
        # The library says in one way that there is no room and that it is broken.
        text = f"it is no zstd, or has more than {most} bytes when it is inflated"
        raise Refused("malformed", text) from fault
    if written > most:
        raise Refused("too-large", f"inflated it has more than {most} bytes")
    return bytes(room[:written])


def _window(raw: bytes) -> int:
    """Return how much memory the first frame asks for (RFC 8878, 3.1.1.1)."""
    if raw[:4] != ZSTD or len(raw) < 6:  # noqa: PLR2004 - magic, descriptor, one byte of window or size
        raise Refused("malformed", "the body is no zstd")
    descriptor = raw[4]
    if descriptor & 0x20:  # one segment: the window is the content
        width = (1, 2, 4, 8)[descriptor >> 6]
        at = 5 + (0, 1, 2, 4)[descriptor & 3]
        return int.from_bytes(raw[at : at + width], "little")
    exponent, mantissa = raw[5] >> 3, raw[5] & 7
    base = 1 << (10 + exponent)
    return base + base // 8 * mantissa


def _end(raw: bytes) -> int:
    """Return where the first frame ends by what it says itself (RFC 8878, 3.1.1), which may be behind the body."""
    descriptor = raw[4]
    single = bool(descriptor & 0x20)
    at = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + (int(single), 2, 4, 8)[descriptor >> 6]
    last = 0
    while not last and at < len(raw):
        block = int.from_bytes(raw[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)  # one byte, repeated
    return at + (4 if descriptor & 4 else 0) if last else len(raw) + 1
