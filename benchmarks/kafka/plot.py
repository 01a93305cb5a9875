"""The figures as bars, in SVG written by hand: it is four rectangles a row."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

WIDTH, LEFT, ROW, BAR = 860, 250, 46, 14
COLOURS = {"rate": "#3b6ea5", "client": "#c9803a", "server": "#8a8f98"}


def drawn(found: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """Return events a second, and below them processor time an event: of the client, then of the server."""
    most = max(one["rate"] for one in found.values())
    longest = max(one["client"] + one["server"] for one in found.values())
    room = WIDTH - LEFT - 130
    rows = []
    for at, (name, one) in enumerate(found.items()):
        y = 40 + at * ROW
        rate = one["rate"] / most * room
        client, server = (one[side] / longest * room for side in ("client", "server"))
        rows += [
            f'<text x="{LEFT - 12}" y="{y + 18}" text-anchor="end">{escape(titles[name])}</text>',
            _bar(LEFT, y, rate, "rate"),
            f'<text x="{LEFT + rate + 6:.1f}" y="{y + 12}" class="figure">{one["rate"]:,.0f} events/s</text>',
            _bar(LEFT, y + BAR + 2, client, "client"),
            _bar(LEFT + client, y + BAR + 2, server, "server") if server else "",
            (
                f'<text x="{LEFT + client + server + 6:.1f}" y="{y + BAR + 14}" class="figure">'
                f"{one['client']:.0f} + {one['server']:.0f} µs</text>"
            ),
        ]
    legend = "events a second; below, µs of processor time an event: the client's, and the database server's"
    height = 40 + len(found) * ROW + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13"><style>.figure{{font-size:11px;fill:#444}}</style>'
        f'<rect width="100%" height="100%" fill="white"/><text x="12" y="22">{legend}</text>{"".join(rows)}</svg>\n'
    )


def _bar(x: float, y: float, width: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" fill="{COLOURS[kind]}"/>'
