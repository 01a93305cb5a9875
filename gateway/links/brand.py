"""The look of the customers' pages: a name and three colours, as a style sheet of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
LEAST = 4.5
"""Contrast that text needs (WCAG 2.2, 1.4.3)."""
PAPER, NIGHT = "#fcfbf8", "#1a1916"
"""The surface that the pages are read on, by day and by night."""


@dataclass(frozen=True)
class Brand:
    """How a company shows itself to its customers."""

    name: str = "Your messages"
    colour: str = "#2f5d46"
    on_colour: str = "#ffffff"
    """What is written on it."""
    link: str = "#2a5540"
    """Links and buttons by day; by night they have a lighter colour of their own."""

    @property
    def sheet(self) -> str:
        """Return the style sheet."""
        return (
            f".pub{{--brand:{self.colour};--on-brand:{self.on_colour};--accent:light-dark({self.link},"
            f"color-mix(in oklab,{self.link} 45%,white));--on-accent:light-dark(#fff,#0c1a1c)}}\n"
        )


def colour(value: str) -> str:
    """Check a colour.

    Raises:
        ValueError: it is none.
    """
    if COLOUR.fullmatch(value) is None:
        text = "a colour is '#' and six digits, as '#2f5d46'"
        raise ValueError(text)
    return value.lower()


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(value: str) -> float:
    parts = [int(value[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)  # noqa: PLR2004 - sRGB
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
