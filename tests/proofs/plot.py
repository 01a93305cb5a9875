"""Lines over time as an SVG, one panel a quantity, without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, GAP = 860, 120, 70, 46
COLOURS = ("#1f6f8b", "#c8553d", "#588157", "#8f6593", "#b08900", "#3d5a80")

Series = Mapping[str, Sequence[float]]


def drawn(title: str, minutes: Sequence[float], panels: Mapping[str, Series]) -> str:
    """Return a page of panels; each series has a value for each of `minutes`."""
    height = 40 + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, series) in enumerate(panels.items()):
        parts += _panel(40 + number * (HEIGHT + GAP), name, minutes, series)
    return "\n".join([*parts, "</svg>", ""])


def _panel(top: int, name: str, minutes: Sequence[float], series: Series) -> list[str]:
    most = max((value for values in series.values() for value in values), default=1) * 1.1 or 1
    last = max(minutes, default=1) or 1
    wide = WIDTH - LEFT - 20
    parts = [f'<text x="{LEFT}" y="{top + 10}" font-weight="bold">{escape(name)}</text>']
    for part in (0.0, 0.5, 1.0):
        y = top + 16 + HEIGHT * (1 - part / 1.1)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * part / 1.1:,.0f}</text>')
    for number, (label, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{LEFT + wide * at / last:.1f},{top + 16 + HEIGHT * (1 - value / most):.1f}"
            for at, value in zip(minutes, values, strict=True)
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        parts.append(
            f'<text x="{LEFT + 200 + 95 * (number % 6)}" y="{top + 10}" fill="{colour}">{escape(label)}</text>'
        )
    parts.append(f'<text x="{LEFT + wide}" y="{top + 32 + HEIGHT}" text-anchor="end">{last:.0f} min</text>')
    return parts
