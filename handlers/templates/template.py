"""A template: its header lines, its body, and what both become on each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from handlers.templates import escapes, forms, layout, markup, sms
from handlers.templates.check import Checker
from handlers.templates.faults import BadTemplate, Blank, Problem, Unshown, breaks_line, is_blank
from handlers.templates.mask import Mask, without_lone_lines
from handlers.templates.source import Piece, Source, Span, cut, read, split
from handlers.templates.speak import Run, run, state_of
from handlers.templates.tree import If, Loop, Text, Tree, grow, names
from handlers.templates.wording import Voice, locale_of, zone_of
from tidings.contract import Type

MAX_HEADER = 900
"""Characters of a header line; a line of a mail holds 998 bytes."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel takes from a template."""

    needs: tuple[str, ...] = ()
    """Headers without which there is no message."""
    takes: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ("plain",)
    """Forms of the body."""


CHANNELS = {
    "email": Channel(("Subject",), ("Preheader",), ("text", "html")),
    "sms": Channel(),
    "push": Channel(("Title",)),
    "ticket": Channel(("Title",)),
    "slack": Channel((), ("Title",), ("slack",)),
    "teams": Channel((), ("Title",), ("teams",)),
}
FORMS: dict[str, Callable[[markup.Document], tuple[Piece, ...]]] = {
    "text": lambda document: forms.lines(document, forms.TEXT),
    "html": forms.html,
    "slack": lambda document: forms.lines(document, forms.SLACK),
    "teams": lambda document: forms.lines(document, forms.TEAMS),
}
ESCAPES = {
    "plain": escapes.plain, "text": escapes.plain, "html": escapes.html, "slack": escapes.slack, "teams": escapes.teams,
}  # fmt: skip


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Return the template of a text; the same text is read once.

    Raises:
        BadTemplate: it is too long, or holds what is no part of the language.
    """
    source = read(text)
    heads, body = split(source)
    template = Template(source, heads, body)
    # What is wrong with the tags is told here; what is wrong with the Markdown, by `check` for the channels that read it.
    template.trees  # noqa: B018 - read now, kept for the checks
    template.form("plain")
    return template


@dataclass(frozen=True, eq=False)
class Template:
    """A template that was read."""

    source: Source
    spans: Mapping[str, Span]
    body: Span

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Sources of the header lines by their names: `Subject`, `Title`, `Preheader`."""
        return {name: self.source.text[span.start : span.end] for name, span in self.spans.items()}

    @cached_property
    def trees(self) -> Mapping[str, Tree]:
        """Header lines by their names."""
        return {name: grow(self.source, cut(self.source, span)) for name, span in self.spans.items()}

    @cached_property
    def mask(self) -> Mask:
        """The body with its tags in disguise."""
        return Mask(self.source, cut(self.source, self.body), self.body.start)

    @cached_property
    def document(self) -> markup.Document:
        """The body as Markdown."""
        return markup.read(self.mask)

    @cached_property
    def forms(self) -> dict[str, Tree]:
        """Bodies by their forms, as far as they were asked for."""
        return {}

    def form(self, name: str) -> Tree:
        """Return the body as a form.

        Raises:
            BadTemplate: its Markdown cannot be used.
        """
        found = self.forms.get(name)
        if found is None:
            plain = name == "plain"
            pieces = self.mask.unmask(without_lone_lines(self.mask)) if plain else FORMS[name](self.document)
            found = self.forms[name] = grow(self.source, pieces)
        return found

    @cached_property
    def placeholders(self) -> frozenset[str]:
        """Names that it needs, first parts only, on whatever channel."""
        return names(self.form("plain")).union(*(names(tree) for tree in self.trees.values()))

    def check(self, types: Mapping[str, Type], channel: str) -> tuple[Problem, ...]:
        """Return what is wrong with the template for a channel, with values of these types.

        R120 its shape, R122 a name that is not given, R123 a field or filter that does not fit, R124 a header that the
        channel needs, R125 what may be null (a warning), R126 a long text message (a warning).
        """
        wanted = CHANNELS.get(channel)
        if wanted is None:
            return (Problem("R124", f"no template is made for '{channel}'", 1, 1),)
        checker = Checker(self.source, types)
        found = self._heads(channel, wanted)
        for name in (*wanted.needs, *wanted.takes):
            checker.tree(self.trees.get(name, ()))
        for name in wanted.bodies:
            try:
                checker.tree(self.form(name))
            except BadTemplate as bad:
                found.append(Problem("R120", bad.text, bad.line, bad.column))
                break
        if channel == "sms" and (warning := self._long()) is not None:
            found.append(warning)
        return tuple(sorted({*found, *checker.problems}, key=lambda one: (one.line, one.column, one.code, one.text)))

    def _heads(self, channel: str, wanted: Channel) -> list[Problem]:
        found = [
            Problem("R124", f"{channel} needs a '{name}: …' line at the top, and an empty line after it", 1, 1)
            for name in wanted.needs
            if name not in self.trees
        ]
        if channel == "sms":
            for name, span in self.spans.items():
                line, _ = self.source.place(span.start)
                text = f"a text message has no {name.lower()}; this line is not sent"
                found.append(Problem("R124", text, line, 1, severity="warning"))
        if "plain" in wanted.bodies and channel == "sms" and not self.form("plain"):
            found.append(Problem("R120", "the text is empty", self.source.place(self.body.start)[0], 1))
        return found

    def _long(self) -> Problem | None:
        least = sms.segments(literal(self.form("plain")))
        if least.count <= sms.MANY:
            return None
        line, column = self.source.place(self.body.start)
        text = f"without its values this is {least.count} text messages already ({least.encoding})"
        return Problem("R126", text, line, column, severity="warning")

    def render(
        self, channel: str, values: Mapping[str, Any], types: Mapping[str, Type], locale: str | None = None,
        zone: str | None = None, *, fallback_zone: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the content of a message for a channel.

        Email `subject text html` and `preheader` where there is one, SMS `text segments encoding`, push and ticket `title body`, Slack `text`, Teams
        `title text`. An unknown locale is English, an unknown zone the fallback or UTC.

        Raises:
            Blank: a value is missing.
            ValueError: a value would break a line of the head, or cannot be shown, or the text grows too long. Its text
                names what the template names, never a value.
        """
        wanted = CHANNELS.get(channel)
        if wanted is None:
            told = f"no template is made for {channel!r}"
            raise Unshown(told)
        voice = Voice(locale_of(locale), zone_of(zone, fallback_zone), narrow=channel == "sms")
        state = state_of(values, types, voice)
        try:
            return COMPOSERS[channel](self, state)
        except (Blank, Unshown):
            raise
        except Exception as fault:  # noqa: BLE001 - whatever no contract has checked: the message fails, and nothing else
            # Raised below, out of the handler: what others say quotes what they could not read.
            told = f"a value cannot be shown: {type(fault).__name__}"
        raise Unshown(told)

    def head(self, name: str, state: Run, escape: Callable[[str], str] = str) -> str:
        """Return a header line, or an empty text where there is none."""
        tree = self.trees.get(name)
        if tree is None:
            return ""
        text = run(tree, state, str).strip()
        if breaks_line(text):
            told = f"the {name.lower()} would hold a control character"
            raise Unshown(told)
        if is_blank(text):
            told = f"the {name.lower()} says nothing"
            raise Blank(told)
        if len(text) > MAX_HEADER:
            told = f"the {name.lower()} would have more than {MAX_HEADER} characters"
            raise Unshown(told)
        return escape(text)

    def needed(self, name: str, state: Run) -> str:
        """Return a header line that there must be."""
        if name not in self.trees:
            told = f"the template has no {name.lower()}"
            raise Blank(told)
        return self.head(name, state)

    def write(self, name: str, state: Run, *, empty: bool = False) -> str:
        """Return the body as a form; `empty` where a body that was written empty may be."""
        tree = self.form(name)
        text = run(tree, state, ESCAPES[name]).strip("\n")
        if is_blank(text) and not (empty and not any(isinstance(node, (If, Loop)) for node in tree)):
            told = "the text says nothing"
            raise Blank(told)
        return text


def literal(tree: Tree) -> str:
    """Return the literal text of a tree, of several ways the longest."""
    parts: list[str] = []
    for node in tree:
        if isinstance(node, Text):
            parts.append(node.text)
        elif isinstance(node, If):
            ways = [*(literal(body) for _, body in node.branches), literal(node.otherwise)]
            parts.append(max(ways, key=len))
        elif isinstance(node, Loop):
            parts.append(literal(node.body))
    return "".join(parts)


def _email(template: Template, state: Run) -> dict[str, Any]:
    subject = template.needed("Subject", state)
    preheader = template.head("Preheader", state)
    text = template.write("text", state, empty=True)
    body = template.write("html", state, empty=True)
    page = layout.page(body, subject, preheader, state.voice.locale)
    before = {"preheader": preheader} if preheader else {}
    return {"subject": subject, **before, "text": f"{text}\n", "html": page}


def _sms(template: Template, state: Run) -> dict[str, Any]:
    text = template.write("plain", state).strip()
    parts = sms.segments(text)
    if parts.count > sms.MOST:
        told = f"the text would be {parts.count} text messages; at most {sms.MOST}"
        raise Unshown(told)
    return {"text": text, "segments": parts.count, "encoding": parts.encoding}


def _titled(template: Template, state: Run) -> dict[str, Any]:
    return {"title": template.needed("Title", state), "body": template.write("plain", state, empty=True)}


def _slack(template: Template, state: Run) -> dict[str, Any]:
    title = template.head("Title", state, escapes.slack)
    text = template.write("slack", state)
    return {"text": f"*{title}*\n{text}" if title else text}


def _teams(template: Template, state: Run) -> dict[str, Any]:
    title = template.head("Title", state, escapes.teams)
    return {"title": title, "text": template.write("teams", state)}


COMPOSERS: dict[str, Callable[[Template, Run], dict[str, Any]]] = {
    "email": _email, "sms": _sms, "push": _titled, "ticket": _titled, "slack": _slack, "teams": _teams,
}  # fmt: skip
