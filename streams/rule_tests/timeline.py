"""`timeline`: what happens, and what is expected. All times are fixed while it is read; the clock never goes back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

from handlers.rules.yaml import Node
from streams.rule_tests.data import EventReader
from streams.rule_tests.model import NAMED, VISIBLE, Arrived, Entry, Expected, Given
from streams.rule_tests.sheet import Sheet, place_of, value_of
from tidings.event import Micros
from tidings.receipts import Receipt
from tidings.rule import SEVERITIES, Channel

ENTRY = ("at", "event", "id", "source", "data", "arrives", "receipt", "to", "channel", "expect")
OF_EVENT = ("id", "source", "data", "arrives")
OF_RECEIPT = ("to", "channel")
EXPECTED = (
    "outcome",
    "severity",
    "channel",
    "to",
    "template",
    "data",
    "until",
    "reason",
    "name",
    "subject",
    "title",
    "text",
)
SAID = ("subject", "title", "text")
SAYING = ("sent", "ticket")
"""Outcomes of messages that were written."""
OUTCOMES = (*VISIBLE, *NAMED)
CHANNELS = get_args(Channel)
MAX_ENTRIES = 2_000


class Timeline:
    """Reads the entries of one test, in order."""

    def __init__(self, sheet: Sheet, events: EventReader, templates: Collection[str], now: Micros) -> None:
        self.sheet = sheet
        self.events = events
        self.contracts = events.contracts.by_type
        self.templates = templates
        self.clock = now
        self.count = 0
        self.times: dict[tuple[str, str], Micros] = {}
        """By source and id of an event: its time. A redelivery has the same."""

    def entry(self, node: Node) -> Entry | None:
        """Return an entry, or None where it is wrong."""
        sheet = self.sheet
        if not sheet.keys(node, ENTRY):
            return None
        self.count += 1
        if self.count == MAX_ENTRIES:
            sheet.wrong(node, "R002", f"more than {MAX_ENTRIES} entries")
        if self.count >= MAX_ENTRIES:
            return None
        before = sheet.mistakes
        self._belongs(node)
        at = sheet.instant(node.get("at"), self.clock)
        event = receipt = None
        if node.get("event") is not None:
            event = self._event(node, self.clock if at is None else at)
        else:
            self._go(node, at)
            receipt = self._receipt(node)
        expected = self._expectation(node.get("expect"))
        return None if sheet.mistakes > before else Entry(place_of(node), self.clock, event, receipt, expected)

    def _belongs(self, node: Node) -> None:
        """Check that keys stand beside what they belong to."""
        before = self.sheet.mistakes
        kinds = [name for name in ("event", "receipt") if node.get(name) is not None]
        if len(kinds) > 1:
            self.sheet.wrong(node, "R006", "an entry has an event or a receipt; write one entry for each")
        for key, _ in node.entries:
            if key.text in OF_EVENT and "event" not in kinds:
                self.sheet.wrong(key, "R006", f"'{key.text}' belongs to an entry with 'event'")
            elif key.text in OF_RECEIPT and "receipt" not in kinds:
                self.sheet.wrong(key, "R006", f"'{key.text}' belongs to an entry with 'receipt'")
        says = kinds or any(node.get(name) is not None for name in ("at", "expect"))
        if not says and self.sheet.mistakes == before:
            self.sheet.wrong(node, "R007", "an entry has 'event', 'receipt', 'expect' or at least 'at'")

    def _go(self, node: Node, at: Micros | None) -> None:
        if at is None:
            return
        if at < self.clock:
            self.sheet.wrong(node.get("at") or node, "T102", "the clock cannot go back")
        else:
            self.clock = at

    # -- events and receipts

    def _event(self, node: Node, occurred_at: Micros) -> Given | None:
        sheet, name_node = self.sheet, node.get("event")
        assert name_node is not None
        contract = self.contracts.get(name_node.text) if name_node.kind == "scalar" else None
        if contract is None:
            sheet.unknown(name_node, f"no event contract '{name_node.text}'", self.contracts)
        arrives_node = node.get("arrives")
        arrives = sheet.instant(arrives_node, occurred_at)
        if arrives_node is None and occurred_at < self.clock:
            text = "this is before the clock of the test; an event that comes late says when it 'arrives'"
            sheet.wrong(node.get("at") or node, "T102", text)
        elif arrives is not None and arrives < max(self.clock, occurred_at):
            when = "it happened" if arrives < occurred_at else "the clock of the test"
            sheet.wrong(arrives_node or node, "T102", f"the event would arrive before {when}")
        else:
            self.clock = occurred_at if arrives is None else arrives
        if contract is None:
            return None
        id_node = node.get("id")
        name = f"#{self.count}" if id_node is None else sheet.text(id_node, "id")
        if name is None:
            return None
        given = self.events.read(sheet, contract, node, name=name, occurred_at=occurred_at, arrives=self.clock)
        if given is not None and id_node is not None:
            known = self.times.setdefault((given.event.source, name), occurred_at)
            if known != occurred_at:
                text = f"the id '{name}' stands for an event of another time; a redelivery has the same 'at', and 'arrives'"
                sheet.wrong(id_node, "T103", text)
        return given

    def _receipt(self, node: Node) -> Arrived | None:
        kind_node = node.get("receipt")
        if kind_node is None:
            return None
        kind = self.sheet.choice(kind_node, "receipt", [str(one) for one in Receipt])
        to = self.sheet.text(node.get("to"), "to", node)
        channel = self.sheet.choice(node.get("channel"), "channel", CHANNELS)
        self._recipient(node.get("to"))
        return None if kind is None or to is None else Arrived(Receipt(kind), to, channel)

    def _recipient(self, node: Node | None) -> None:
        if node is not None and not node.text.startswith(("customer:", "team:", "address:")):
            self.sheet.wrong(node, "R006", "a recipient is 'customer:<id>', 'team:<name>' or 'address:<address>'")

    # -- expectations

    def _expectation(self, node: Node | None) -> tuple[Expected, ...] | None:
        if node is None:
            return None
        if node.kind == "scalar" and node.text == "nothing":
            return ()
        if node.kind != "list":
            self.sheet.wrong(node, "R006", "'nothing' or a list of outcomes is needed here")
            return ()
        return tuple(found for one in node.items if (found := self._expected(one)) is not None)

    def _expected(self, node: Node) -> Expected | None:
        sheet = self.sheet
        if not sheet.keys(node, EXPECTED):
            return None
        outcome_node = node.get("outcome")
        outcome = sheet.choice(outcome_node, "outcome", OUTCOMES)
        if outcome_node is None:
            sheet.wrong(node, "R007", "'outcome' is missing")
        template = self._template(node.get("template"))
        data: Any = node.get("data")
        if data is not None and data.kind != "map":
            sheet.wrong(data, "R006", "'data' is a mapping of the values that a message carries")
            data = None
        self._recipient(node.get("to"))
        texts = {name: sheet.text(node.get(name), name) for name in ("to", "reason", "name")}
        said = {name: text for name in SAID if (text := sheet.text(node.get(name), name)) is not None}
        if said and outcome is not None and outcome not in SAYING:
            name = next(iter(said))
            sheet.wrong(node.get(name) or node, "R006", f"'{name}' belongs to the outcomes {' and '.join(SAYING)}")
        severity = sheet.choice(node.get("severity"), "severity", SEVERITIES)
        channel = sheet.choice(node.get("channel"), "channel", CHANNELS)
        until = sheet.instant(node.get("until"), self.clock)
        if outcome is None:
            return None
        return Expected(
            place_of(node), outcome, severity, channel, texts["to"], template,
            None if data is None else value_of(data), until, texts["reason"], texts["name"], said,
        )  # fmt: skip

    def _template(self, node: Node | None) -> str | None:
        template = self.sheet.text(node, "template")
        if node is not None and template is not None and template not in self.templates:
            self.sheet.unknown(node, f"there is no template '{template}'", self.templates)
        return template
