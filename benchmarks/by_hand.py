"""The yardstick: what one would decide by hand for the ten rules of the workload. It imports nothing of ours.

It decodes with fastavro and asks the conditions as plain Python. It knows what a rule engine must not assume: which
rules there are, and that every record is sound. `handwritten.py` puts SQLite around it, `kafka/transaction.py`
PostgreSQL.
"""

from __future__ import annotations

import hashlib
import json
import resource
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import fastavro

RELEASED = Path(__file__).parents[1] / "schemas" / "avro" / "released"
ISSUED, PAID = "billing.invoice.issued", "billing.invoice.paid"
FAILED, PLACED, METERED, CHANGED = (
    "billing.payment.failed", "sales.order.placed", "billing.usage.metered", "crm.customer.changed",
)  # fmt: skip
TOPICS = sorted(f"{kind}.v1" for kind in (ISSUED, PAID, FAILED, PLACED, METERED, CHANGED))
ABSENCE = [f"{ISSUED}.v1", f"{PAID}.v1"]

BATCH, TICK, CHUNK = 500, 1_000, 900
SECOND = 1_000_000
DAY = 86_400 * SECOND
LATENESS, HORIZON, MEMORY = SECOND, 7 * DAY, 90 * DAY
NEVER = -(2**62)

ROOT = UUID("8a0f7c1e-3d57-5c53-9c3f-5d1f6f3b7a10")
EVENT, FIRING = uuid5(ROOT, "event").bytes, uuid5(ROOT, "firing").bytes

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
Row = tuple[Any, ...]
Place = tuple[str, int]
"""(topic, partition)"""


def fingerprint(appended_at: int, value: bytes, key: bytes) -> str:
    """Return append time and hash of the last record that was read."""
    text = b"%d:%b%d:%b" % (len(key), key, len(value), value)
    return f"{appended_at}:{hashlib.blake2b(text, digest_size=12).hexdigest()}"


def plain(schema: Any) -> Any:
    """Return a schema whose instants are read as integers."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        kept = {name: plain(value) for name, value in schema.items() if name != "logicalType"}
        return kept["type"] if set(kept) == {"type"} else kept
    return schema


def read_schemas() -> dict[int, tuple[Any, str]]:
    """Return parsed schemas and event types by the id that the frame carries."""
    found = {}
    for path in RELEASED.glob("*/*.avsc"):
        schema = json.loads(path.read_text("utf-8"))
        digest = hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        found[int(digest[:8], 16) & 0x7FFFFFFF] = fastavro.parse_schema(plain(schema)), schema["event_type"]
    return found


def derived(namespace: bytes, *parts: Any) -> str:
    """Return the uuid5 of a name, as text."""
    raw = bytearray(hashlib.sha1(namespace + to_json(parts).encode(), usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def row_key(tenant: str, kind: str, name: str) -> bytes:
    """Return the key of a row of state."""
    return hashlib.blake2b(to_json((tenant, kind, (name,))).encode(), digest_size=16).digest()


def matches(kind: str, data: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return which of the nine rules that look at one event hold, and what each captures; in the order of the rules."""
    said: list[tuple[str, dict[str, Any]]] = []
    if kind == FAILED:
        if data["code"] == "card_declined":
            said.append(("payment-declined", {"what": data["payment_id"]}))
        if data["code"] in ("expired_card", "insufficient_funds") and data["attempt"] >= 3:
            said.append(("payment-hopeless", {"what": data["payment_id"], "amount": data["amount"]}))
    elif kind == PLACED:
        total = data["total"]
        euros = total["currency"] == "EUR"
        if data["express"] and euros and total["amount_minor"] >= 500_00:
            said.append(("order-express", {"what": data["order_id"], "amount": total}))
        if data["item_count"] >= 10 and euros and total["amount_minor"] >= 100_00:
            said.append(("order-large", {"what": data["order_id"], "amount": total}))
    elif kind == METERED:
        if data["metric"] == "sms" and data["used"] > data["included"]:
            said.append(("usage-sms", {"what": "sms"}))
        if data["metric"] == "data" and data["used"] * 10 >= data["included"] * 9:
            said.append(("usage-data", {"what": "data"}))
    elif kind == CHANGED:
        before, after = data["before"], data["after"]
        both = data["before_coverage"] == "FULL" and data["after_coverage"] == "FULL" and before and after
        if both and before["email"] != after["email"]:
            said.append(("email-changed", {"what": after["email"], "before": before["email"]}))
        if both and before["plan"] != after["plan"] and after["plan"] == "business":
            said.append(("plan-business", {"what": "business"}))
        if data["after_coverage"] == "ABSENT":
            said.append(("account-closed", {"what": data["customer_id"]}))
    return said


def complete(data: dict[str, Any], version: int, image: dict[str, Any] | None) -> dict[str, Any]:
    """Complete a change event from the customer's image; return the image after it."""
    if image is not None and version <= image["v"]:
        return image
    if data["before_coverage"] not in ("FULL", "ABSENT"):
        data["before"] = None if image is None else image["d"]
        data["before_coverage"] = "UNKNOWN" if data["before"] is None else "FULL"
    return {"v": version, "d": data["after"] if data["after_coverage"] == "FULL" else None}


class Invoice:
    """One key of the rule `invoice-overdue`: armed by `issued`, closed by `paid`; a key lives once."""

    def __init__(self, loop: Deciding, k: bytes, name: str, value: bytes | None) -> None:
        known: dict[str, Any] = {"state": None, "waits": 0, "first": None} if value is None else json.loads(value)
        self.loop, self.k, self.name = loop, k, name
        self.state: dict[str, Any] = known["state"] or {}
        self.waits: int = known["waits"]
        self.first: int | None = known["first"]
        self.queue: list[tuple[Row, dict[str, Any]]] = []
        self.fresh: set[Row] = set()

    def read_buffer(self, w: int) -> None:
        """Fetch what waits and W has reached."""
        if not self.waits or (self.first is not None and self.first > w):
            return
        rows = self.loop.waiting(self.k)
        self.queue = [(row[:4], json.loads(row[4])) for row in rows if row[0] <= w]
        self.first = next((row[0] for row in rows if row[0] > w), None)

    def take(self, arrived: list[tuple[Row, dict[str, Any]]], w0: int, w1: int) -> None:
        """Take the batch's events: in order of time as far as W reaches, the others into the buffer."""
        self.run(w0)
        seen: set[Row] = set()
        if self.waits:
            seen = {order for order, _ in arrived if self.loop.is_waiting(self.k, order)}
        for order, body in sorted(arrived, key=lambda pair: pair[0]):
            if order[0] <= w0:
                if "c" in body["roles"]:
                    self.close(order)
            elif order not in seen:
                seen.add(order)
                if order[0] <= w1:
                    self.queue.append((order, body))
                    self.fresh.add(order)
                else:
                    self.waits += 1
                    self.first = order[0] if self.first is None else min(self.first, order[0])
                    self.loop.enter.append((self.k, *order, to_json(body).encode()))
        self.queue.sort(key=lambda pair: pair[0])
        self.run(w1)

    def timers(self) -> list[tuple[int, str]]:
        """Return what the state waits for."""
        state, found = self.state, []
        if "fired" in state:
            found.append((state["fired"]["at"] + MEMORY, "a"))
        if "ended" in state:
            found.append((state["ended"] + HORIZON, "b"))
        if "armed" in state:
            found.append((state["armed"]["due"], "c"))
        return found

    def run(self, w: int) -> None:
        """Apply events and timers up to W, in order."""
        while True:
            at, which = min(self.timers(), default=(w + 1, ""))
            if self.queue and self.queue[0][0][0] <= min(w, at):
                order, body = self.queue.pop(0)
                if order not in self.fresh:
                    self.waits -= 1
                    self.loop.leave.append((self.k, *order))
                self.apply(order, body)
            elif at <= w:
                self.expire(at, which)
            else:
                return

    def apply(self, order: Row, body: dict[str, Any]) -> None:
        """Apply an event in its order."""
        if "c" in body["roles"]:
            self.close(order)
        elif "armed" not in self.state and "ended" not in self.state:
            item = {name: body[name] for name in ("type", "id", "tenant", "subject")}
            due = max(body["data"]["due_date"], order[0])
            self.state["armed"] = {"order": list(order), "item": item, "data": body["data"], "due": due}

    def close(self, order: Row) -> None:
        """Disarm, or take back; the key is dead then."""
        state = self.state
        for what in ("armed", "fired"):
            if what in state and (tuple(state[what]["order"]) < order or order[0] >= state[what]["order"][0] - HORIZON):
                episode = state.pop(what)
                if what == "fired":
                    self.say("stopped", episode, order[0])
        state["ended"] = max(state.get("ended", order[0]), order[0])

    def expire(self, at: int, which: str) -> None:
        """Fire, or forget."""
        state = self.state
        if which == "c":
            armed = state.pop("armed")
            state["fired"] = {"at": at, "order": armed["order"], "item": armed["item"], "data": armed["data"]}
            state["ended"] = max(state.get("ended", at), at)
            self.say("fired", armed, at)
        else:
            del state["fired" if which == "a" else "ended"]

    def say(self, kind: str, episode: dict[str, Any], at: int) -> None:
        """Record a firing, or that it is taken back."""
        begun, _, source, ref = episode["order"]
        data = episode["data"]
        captured = [] if kind == "stopped" else [{"what": data["invoice_id"], "amount": data["amount_due"]}]
        who = f"customer:{data['customer_id']}"
        self.loop.record("invoice-overdue", kind, [self.name], (begun, source, ref), at, who, captured)

    def row(self) -> tuple[bytes | None, int | None]:
        """Return the value, and when the key wants to be looked at."""
        wants = [at for at, _ in self.timers()]
        if self.waits and self.first is not None:
            wants.append(self.first)
        if not self.state and not self.waits:
            return None, None
        value = {
            "format": 2, "state": self.state or None, "waits": self.waits,
            "first": self.first if self.waits else None, "overflow": None,
        }  # fmt: skip
        return to_json(value).encode(), min(wants, default=None)


@dataclass
class Gathered:
    """A batch, decoded."""

    invoices: dict[bytes, tuple[str, list[tuple[Row, dict[str, Any]]]]] = field(default_factory=dict)
    customers: dict[bytes, str] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any], dict[str, Any], str, bytes]] = field(default_factory=list)
    newest: dict[Place, int] = field(default_factory=dict)


class Deciding(ABC):
    """What one transaction decides, and what of it is to be written."""

    def __init__(self) -> None:
        self.schemas = read_schemas()
        self.rule_set = ""
        self.begin()

    @abstractmethod
    def waiting(self, k: bytes) -> list[Row]:
        """Return what waits for a key, in its order: (time, rank, source, ref, value)."""

    @abstractmethod
    def is_waiting(self, k: bytes, order: Row) -> bool:
        """Return whether an event waits already."""

    def begin(self) -> None:
        """Forget what the last transaction wrote."""
        self.records: list[Row] = []
        self.states: dict[bytes, Row] = {}
        self.enter: list[Row] = []
        self.leave: list[Row] = []
        self.seq = 0

    def decode(self, value: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return type, envelope and data of a record."""
        schema, kind = self.schemas[int.from_bytes(value[1:5], "big")]
        buffer = BytesIO(value)
        buffer.seek(5)
        data: Any = fastavro.schemaless_reader(buffer, schema, None)
        return kind, data.pop("meta"), data

    def gather(self, records: Iterable[tuple[Place, int, bytes]]) -> Gathered:
        """Decode (partition, append time, value) and see which rows they concern."""
        found = Gathered()
        for place, appended_at, value in records:
            kind, meta, data = self.decode(value)
            at, source = meta["occurred_at"], meta["source"]
            found.newest[place] = max(found.newest.get(place, NEVER), min(at, appended_at))
            ref = derived(EVENT, meta["tenant"], source, meta["event_id"], at)
            if kind == CHANGED:
                k = row_key(meta["tenant"], "image:crm.customer", data["customer_id"])
                found.customers[k] = data["customer_id"]
                found.events.append((kind, meta, data, ref, k))
            elif kind in (ISSUED, PAID):
                if (item := self.item(kind, meta, data, ref)) is not None:
                    k = row_key(meta["tenant"], "rule:invoice-overdue", data["invoice_id"])
                    found.invoices.setdefault(k, (data["invoice_id"], []))[1].append(item)
            else:
                found.events.append((kind, meta, data, ref, b""))
        return found

    def events(self, found: Gathered, known: dict[bytes, bytes | None]) -> None:
        """Complete change events, and ask the rules that look at one event."""
        images = {k: None if (raw := known.get(k)) is None else json.loads(raw) for k in found.customers}
        for kind, meta, data, ref, k in found.events:
            version = meta["occurred_at"] if meta["sequence"] is None else meta["sequence"]
            if kind == CHANGED:
                images[k] = complete(data, version, images[k])
            for rule, captured in matches(kind, data):
                episode = (meta["occurred_at"], meta["source"], ref)
                self.record(rule, "fired", [], episode, episode[0], f"customer:{data['customer_id']}", [captured])
        for k, image in images.items():
            value = to_json(image).encode()
            self.states[k] = (k, "image:crm.customer", "default", f'["{found.customers[k]}"]', value, None)

    def invoices(self, found: Gathered, known: dict[bytes, bytes | None], w0: int, w1: int) -> None:
        """Run the keys of the rule with state: W was `w0`, and is `w1` with the batch."""
        for k in sorted(found.invoices):
            name, arrived = found.invoices[k]
            invoice = Invoice(self, k, name, known.get(k))
            invoice.read_buffer(w1)
            invoice.take(arrived, w0, w1)
            self.keep(invoice)

    def due(self, rows: Iterable[tuple[bytes, str, bytes | None]], w: int) -> None:
        """Run keys whose time has come: (k, key, value)."""
        for k, key, value in rows:
            invoice = Invoice(self, k, json.loads(key)[0], value)
            invoice.read_buffer(w)
            invoice.run(w)
            self.keep(invoice)

    def item(
        self, kind: str, meta: dict[str, Any], data: dict[str, Any], ref: str
    ) -> tuple[Row, dict[str, Any]] | None:
        """Return what an invoice's key keeps of an event."""
        at, source = meta["occurred_at"], meta["source"]
        if kind == PAID:
            return (at, 2, source, ref), {"type": kind, "roles": "c"}
        amount = data["amount_due"]
        if amount["currency"] != "EUR" or amount["amount_minor"] <= 0:
            return None
        kept = {name: data[name] for name in ("amount_due", "customer_id", "due_date", "invoice_id")}
        return (at, 0, source, ref), {
            "type": kind, "roles": "a", "data": kept, "id": meta["event_id"], "tenant": meta["tenant"],
            "subject": meta["subject"],
        }  # fmt: skip

    def keep(self, invoice: Invoice) -> None:
        """Write the key's row, or delete it."""
        value, due = invoice.row()
        key = to_json([invoice.name])
        self.states[invoice.k] = (invoice.k, "rule:invoice-overdue", "default", key, value, due)

    def record(
        self, rule: str, kind: str, key: list[str], episode: tuple[int, str, str], at: int, who: str, data: list[Any]
    ) -> None:
        """Note a detection record."""
        begun, source, ref = episode
        firing = derived(FIRING, "default", rule, key, (source, ref), None)
        body = {
            "tenant": "default", "rule": rule, "rule_set": self.rule_set, "firing_id": firing, "kind": kind, "n": 0,
            "key": key, "episode": {"at": begun, "source": source, "event": ref}, "logical_at": at,
            "severity": "medium", "recipient": who, "data": data,
        }  # fmt: skip
        self.records.append((begun, firing, kind, 0, "default", rule, who, self.seq, at, to_json(body).encode(), 1))

    def journal(self, spans: list[Any], keys: list[str], before: dict[str, int], after: dict[str, int]) -> bytes:
        """Return the body of the journal's row."""
        body = {
            "rule_set": self.rule_set, "spans": spans, "keys": keys, "w_before": before, "w_after": after,
            "floors": {}, "code": 2,
        }  # fmt: skip
        return to_json(body).encode()


def watermarks(sources: dict[Place, list[Any]]) -> dict[str, int]:
    """Return how far the topics of the absence rule are complete; of a source: position, newest time, idle since."""
    found: dict[str, int] = {}
    for (topic, _), (_, newest, caught_up) in sources.items():
        if topic in ABSENCE:
            w = max(NEVER if newest is None else newest - 1, NEVER if caught_up is None else caught_up)
            found[topic] = min(found.get(topic, w), w)
    return {topic: found[topic] for topic in ABSENCE}


def of_rule(topics: dict[str, int]) -> int:
    """Return how far its events are complete."""
    w = min(topics.values())
    return w if w == NEVER else w - LATENESS


def cpu() -> float:
    """Return the processor time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
