"""Small drawings: sparklines, and the bar of a sum. SVG without styles of its own; each carries its sentence."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

HEIGHT = 34
STEP, WIDTH = 5, 4
"""Of a bar of a sparkline, with and without the gap after it."""
LENGTH = 1000
"""Of the bar of a sum."""
GAP = 2
LEAST = 4
"""A part that is there is seen."""
PATTERNS = Markup(
    '<defs><pattern id="hs" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="supp" d="M1.5 0v5"/></pattern><pattern id="hf" width="4" height="12" patternUnits="userSpaceOnUse">'
    '<path class="flit" d="M1 0v12"/></pattern></defs>'
)
"""What the sheet fills parts with, so that they differ without colour too."""


def bars(values: Sequence[float], says: str) -> Markup:
    """Return a sparkline of counts: a bar for each, the highest as high as the picture."""
    top = max(values, default=0) or 1
    parts = []
    for at, value in enumerate(values):
        high = round(value / top * HEIGHT, 1)
        if value:
            high = max(high, 1)
            parts.append(f"M{at * STEP} {HEIGHT}v-{high:g}h{WIDTH}v{high:g}z")
    return _spark(len(values) * STEP - 1, Markup('<path d="{}"/>').format("".join(parts)), says)


def line(values: Sequence[float | None], says: str) -> Markup:
    """Return a sparkline of sizes; where nothing was measured, it has a gap."""
    top = max((value for value in values if value is not None), default=0) or 1
    path, begun = "", False
    for at, value in enumerate(values):
        if value is None:
            begun = False
            continue
        path += f"{'L' if begun else 'M'}{at * STEP},{HEIGHT - 2 - value / top * (HEIGHT - 4):.1f}"
        path += "" if begun else "h0.1"  # a single point is seen as well
        begun = True
    return _spark(max(1, len(values) * STEP - 1), Markup('<path class="ln" d="{}"/>').format(path), says)


def _spark(width: int, inside: Markup, says: str) -> Markup:
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(max(width, 1), HEIGHT, says, inside)


def bar(parts: Sequence[tuple[str, int]], says: str) -> Markup:
    """Return one bar made of parts, by colour; what is suppressed is hatched, what is in flight striped."""
    total = sum(count for _, count in parts) or 1
    drawn, at = Markup(), 0.0
    seen = [(colour, count) for colour, count in parts if count]
    room = LENGTH - LEAST * len(seen)
    for colour, count in seen:
        width = LEAST + room * count / total
        drawn += Markup('<rect class="{0}" x="{1}" width="{2}" height="12"/>').format(
            colour, f"{at:.1f}", f"{max(1.0, width - GAP):.1f}"
        )
        at += width
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 12" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(LENGTH, says, PATTERNS, drawn)
