"""The parts that a text message is sent in (3GPP TS 23.038 and 23.040): what it costs, and whether it arrives as one.

A message of one part holds 160 septets or 70 UTF-16 units; each part of a longer one gives 7 septets or 3 units to the
header that joins the parts. A sign of the extension table takes two septets, and a sign beyond the basic plane two
units; neither is split between two parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
ALPHABET = BASIC | EXTENSION
SINGLE = {"GSM-7": 160, "UCS-2": 70}
JOINED = {"GSM-7": 153, "UCS-2": 67}
MOST = 10
"""Parts of a message that is sent at all."""
MANY = 3
"""Parts from which on a template is worth a warning."""


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text travels."""

    encoding: Literal["GSM-7", "UCS-2"]
    characters: int
    """Septets, or UTF-16 units: what counts against the room of a part."""
    count: int
    """Parts."""


def segments(text: str) -> Segments:
    """Return the encoding, the length in its units, and the number of parts of a text."""
    encoding: Literal["GSM-7", "UCS-2"]
    if ALPHABET.issuperset(text):
        encoding = "GSM-7"
        widths = [2 if letter in EXTENSION else 1 for letter in text]
    else:
        encoding = "UCS-2"
        widths = [2 if letter > "\uffff" else 1 for letter in text]
    total = sum(widths)
    if total <= SINGLE[encoding]:
        return Segments(encoding, total, int(total > 0))
    room = JOINED[encoding]
    count, filled = 1, 0
    for width in widths:
        if filled + width > room:
            count, filled = count + 1, 0
        filled += width
    return Segments(encoding, total, count)


def split(text: str) -> list[str]:
    """Return the parts of a text: as many as `segments` counts, and nothing is lost."""
    found = segments(text)
    if found.count <= 1:
        return [text] if found.count else []
    room = JOINED[found.encoding]
    parts, filled, start = [], 0, 0
    for at, letter in enumerate(text):
        wide = letter in EXTENSION if found.encoding == "GSM-7" else letter > "\uffff"
        width = 1 + wide
        if filled + width > room:
            parts.append(text[start:at])
            start, filled = at, 0
        filled += width
    return [*parts, text[start:]]
