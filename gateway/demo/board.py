"""The live table: painted from top to bottom, so that it looks the same on dark and on light terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gateway.demo.customers import NIGHT
from gateway.demo.members import Group, Member
from gateway.demo.scene import HOME, Ahead, Line, Scene, local, place
from tidings.event import DAY, HOUR, MINUTE, Micros

WIDE = 112
"""Columns from which on the reason has a column of its own; below, it has the second line of each row."""
PAPER, STRIPE, NIGHT_PAPER, NIGHT_STRIPE, BAR = "#16181d", "#1d2026", "#0c1440", "#111a4a", "#262a33"
INK, FAINT, SUN, MOON, GOOD, BAD = "#d7dae0", "#8a909c", "#e8c860", "#8ea6e8", "#7ddc8a", "#ff8080"
KINDS: Mapping[str, str] = {
    "told": GOOD, "clear": "#6fd3d8", "held": MOON, "silent": SUN, "stopped": "#d59be8", "failed": BAD, "quiet": FAINT,
}  # fmt: skip
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo")
ENDS = ("accepted", "suppressed", "cancelled", "expired", "failed", "unresolved", "open")


@dataclass
class Board:
    """Renders a scene into the size that the terminal has now."""

    scene: Scene
    speed: int
    began: Micros
    """When the shop opened for the first time."""
    ahead: Ahead = field(default_factory=Ahead)
    sums: Mapping[str, Any] = field(default_factory=dict)
    """As `gateway.cli.watch.summary` tells them."""
    ending: str = "Ctrl-C ends it"
    again: bool = False
    """The shop was open before: what only this start has seen says so."""
    group: Group | None = None
    """The workers, where there are several."""
    url: str = ""
    """Of the console."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Paint header, rows, what waits, and the sum."""
        width, height = options.max_width, options.height or console.height
        now = self.scene.clock()
        foot = self._foot(now, width)
        head = self._head(now, width)
        wide = width >= WIDE
        room = max(1, height - len(head) - len(foot) - 1)
        rows = max(1, room if wide else room // 2)
        yield from (_bar(line, width) for line in head)
        yield self._table(list(self.scene.lines)[-rows:], rows, room, wide=wide)
        yield from (_bar(line, width) for line in foot[:-1])
        yield _bar(foot[-1], width, end="")

    def _head(self, now: Micros, width: int) -> list[Text]:
        home = local(now, HOME)
        day = (home.date() - local(self.began, HOME).date()).days + 1
        date = f"{home:%A}, {home.day} {home:%B %H:%M}" if width >= WIDE else f"{home:%a}, {home.day} {home:%b %H:%M}"
        title = Text.assemble((" Tidings ", f"bold {INK}"), (f" {date} ", f"bold {SUN}"))
        pace = f"day {day} of the shop, {86_400 / self.speed:.3g} s each"
        title.append(f" {pace}; {self.ending}" if self.ending else f" {pace}", FAINT)
        clocks = Text(" ")
        for zone in ZONES:
            asleep = NIGHT.is_quiet(now, zone)
            style = Style.parse(f"{MOON} on {NIGHT_PAPER}" if asleep else SUN)
            clocks.append(f" {'☾' if asleep else '☀'} {local(now, zone):%H:%M} {place(zone)} ", style)
        if width >= WIDE:
            clocks.append("  ☾ quiet there, from 21:00 to 08:00", FAINT)
        inside = Text.assemble((" look inside: ", FAINT), (self.url, f"bold {INK}"), (" in a browser", FAINT))
        return [title, clocks, inside] if self.url else [title, clocks]

    def _table(self, lines: Sequence[Line], rows: int, room: int, *, wide: bool) -> Table:
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, header_style=f"{FAINT} on {BAR}")
        table.add_column(f" {place(HOME)}", width=10, no_wrap=True)
        table.add_column("by", width=8, no_wrap=True)
        if wide:
            table.add_column("to", width=17, no_wrap=True, overflow="ellipsis")
            table.add_column("", width=9, no_wrap=True)
            table.add_column("what they read", ratio=9, no_wrap=True, overflow="ellipsis")
            table.add_column("because", ratio=10, no_wrap=True, overflow="ellipsis")
        else:
            table.add_column("to whom, what they read, because", ratio=1, no_wrap=True, overflow="ellipsis")
        first = self.scene.count - len(lines)
        for number, line in enumerate(lines, first):
            table.add_row(*_cells(line, wide=wide), style=_paper(line, number))
        used = len(lines) * (1 if wide else 2)
        for _ in range(room - used):
            table.add_row("", style=f"on {PAPER}")
        return table

    def _foot(self, now: Micros, width: int) -> list[Text]:
        ahead, waiting = self.ahead, Text(" ")
        waiting.append(f"{ahead.absences} absence{' waits' if ahead.absences == 1 else 's wait'}", f"bold {INK}")
        if ahead.next_absence is not None:
            at, rule, key = ahead.next_absence
            due = "now" if at - now < MINUTE else f"in {span(at - now)}"
            waiting.append(f"; the next is due {due}: {rule} {key.strip('[]').replace(chr(34), '')}", FAINT)
        if ahead.held:
            waiting.append(f"   {ahead.held} held", f"bold {MOON}")
            if ahead.next_held is not None and width >= WIDE:
                zone = self.scene.zone(ahead.next_held[1]) or HOME
                waiting.append(f", the next until {local(ahead.next_held[0], zone):%H:%M} in {place(zone)}", FAINT)
        sums = self._sum(width) if self.sums else [Text(""), Text("")]
        return [waiting, *([] if self.group is None else _group(self.group, width)), *sums]

    def _sum(self, width: int) -> list[Text]:
        sums = self.sums
        good = sums["holds"]
        mark = (" ✓ ", f"bold {GOOD}") if good else (" ✗ THE SUM DOES NOT HOLD ", f"bold {BAD}")
        letters = f"{sums['dead_letters']} dead letter{'' if sums['dead_letters'] == 1 else 's'}"
        events = Text.assemble(
            mark, (f"{sums['events']} events", f"bold {INK}"), (f" = {sums['decided']} decided + {letters}", FAINT),
            (f" + {sums['not_taken']} on their way" if sums["not_taken"] else "", FAINT),
        )  # fmt: skip
        quiet = "kept quiet since this start" if self.again else "times a rule kept quiet"
        events.append(f"   {self.scene.looked} {quiet}", FAINT)
        terms = [f"{sums['messages'][state]} {state}" for state in ENDS if sums["messages"][state]] or ["0"]
        pieces = [(f" + {term}" if number else term, FAINT) for number, term in enumerate(terms)]
        if clears := sum(sums["corrections"].values()):
            pieces.append((f", and {clears} all-clear{'' if clears == 1 else 's'}", KINDS["clear"]))
        lines = [events, Text.assemble(mark, (f"{sums['steps_due']} due", f"bold {INK}"), (" = ", FAINT))]
        for whole, colour in pieces:
            piece = whole
            if lines[-1].cell_len + len(piece) > width:
                lines.append(Text("   "))
                piece = piece.lstrip(" ,")
            lines[-1].append(piece, colour)
        return lines


def _group(group: Group, width: int) -> list[Text]:
    """Return the workers, each with its share of the partitions and how far it is behind."""
    whole = Text.assemble(
        (f" {group.partitions} partitions", f"bold {INK}"), (" over ", FAINT),
        (f"{sum(one.up for one in group.members)} of {len(group.members)} workers", f"bold {INK}"),
        (f"   lag {group.lag}", f"bold {GOOD if group.lag < BEHIND else SUN}"),
        (f"   {group.rebalances} rebalance{'' if group.rebalances == 1 else 's'}", FAINT),
        (f", {group.kills} worker{' was' if group.kills == 1 else 's were'} killed on purpose" if group.kills else "", FAINT),
        (f"   {group.orphans} partitions change hands" if group.orphans else "", f"bold {SUN}"),
    )  # fmt: skip
    share = Text(" ")
    room = max(4, (width - 2) // max(1, len(group.members)) - SHARE_WORDS)
    for member in group.members:
        share.append_text(_member(member, group.partitions, room))
    return [whole, share]


BEHIND = 50
"""Records from which on a lag is shown in another colour."""
SHARE_WORDS = 26
"""Columns of a worker's words beside its bar."""


def _member(member: Member, partitions: int, room: int) -> Text:
    length = min(room, 12) * member.partitions // max(1, partitions)
    bar = "▮" * length + "▯" * (min(room, 12) - length)
    says = f"{member.partitions}, lag {member.lag}" if member.up else "down"
    colour = KINDS["clear"] if member.up else BAD
    return Text.assemble((f"{member.name} ", INK), (bar, colour), (f" {says:<12} ", FAINT if member.up else BAD))


def _cells(line: Line, *, wide: bool) -> list[Text]:
    colour = KINDS[line.kind]
    reads = Text(line.reads, INK if line.kind in ("told", "clear") else FAINT)
    because = Text(line.because, FAINT if line.kind in ("told", "quiet") else colour)
    state = Text(line.state, f"bold {colour}")
    cells = [Text(f" {local(line.at, HOME):%a %H:%M}", FAINT), Text(line.channel, colour)]
    if wide:
        return [*cells, Text(line.who, INK), state, reads, because]
    who = Text(line.who, INK)
    who.truncate(16, overflow="ellipsis", pad=True)
    state.pad_right(10 - state.cell_len)
    return [*cells, Text("\n  ").join([Text.assemble(who, " ", state, reads), because])]


def _paper(line: Line, number: int) -> str:
    """Return the background of a row: every second one a shade lighter, night blue where they sleep."""
    pair = (NIGHT_PAPER, NIGHT_STRIPE) if line.is_night else (PAPER, STRIPE)
    return f"on {pair[number % 2]}"


def _bar(line: Text, width: int, end: str = "\n") -> Text:
    """Return one line of header or footer, over the whole width."""
    line = line.copy()
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis", pad=True)
    line.end = end
    line.stylize_before(f"on {BAR}")
    return line


def span(time: Micros) -> str:
    """Return a time of the shop in words: `3 h`, `40 min`."""
    if time >= DAY:
        return f"{time // DAY} d {time % DAY // HOUR} h"
    return f"{time // HOUR} h {time % HOUR // MINUTE:02d}" if time >= HOUR else f"{max(0, time) // MINUTE} min"
