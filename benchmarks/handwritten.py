"""The yardstick: what one would write by hand for the ten rules of the workload. It imports nothing of ours.

It reads the log, decodes with fastavro, asks the conditions as plain Python, and writes the rows that the embedded
worker writes, in batches and ticks of the same size: `run.py` compares the files table by table. It knows what a rule
engine must not assume: which rules there are, and that every record is sound.

    python benchmarks/handwritten.py FILE NOW
"""

from __future__ import annotations

import hashlib
import json
import resource
import sqlite3
import sys
import time
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

BATCH, TICK, CHUNK = 500, 200, 900
SECOND = 1_000_000
DAY = 86_400 * SECOND
LATENESS, HORIZON, MEMORY = SECOND, 7 * DAY, 90 * DAY
NEVER = -(2**62)

ROOT = UUID("8a0f7c1e-3d57-5c53-9c3f-5d1f6f3b7a10")
EVENT, FIRING = uuid5(ROOT, "event").bytes, uuid5(ROOT, "firing").bytes

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
Row = tuple[Any, ...]


def fingerprint(row: Row) -> str:
    """Return append time and hash of the last record that was read."""
    _, appended_at, value, key = row
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

    def __init__(self, loop: Loop, k: bytes, name: str, value: bytes | None) -> None:
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
        rows = self.loop.db.execute(
            "SELECT time, rank, source, ref, value FROM buffer WHERE k = ? ORDER BY time, rank, source, ref", (self.k,)
        ).fetchall()
        self.queue = [(row[:4], json.loads(row[4])) for row in rows if row[0] <= w]
        self.first = next((row[0] for row in rows if row[0] > w), None)

    def take(self, arrived: list[tuple[Row, dict[str, Any]]], w0: int, w1: int) -> None:
        """Take the batch's events: in order of time as far as W reaches, the others into the buffer."""
        self.run(w0)
        seen: set[Row] = set()
        if self.waits:
            query = "SELECT 1 FROM buffer WHERE (k, time, rank, source, ref) = (?, ?, ?, ?, ?)"
            seen = {order for order, _ in arrived if self.loop.db.execute(query, (self.k, *order)).fetchone()}
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


class Loop:
    """Reads the log to its end."""

    def __init__(self, path: str, now: int) -> None:
        self.now = now
        self.schemas = read_schemas()
        self.db = db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
            db.execute(f"PRAGMA {pragma}")
        self.rule_set = db.execute("SELECT value FROM epochs WHERE name = 'rule_set'").fetchone()[0]
        self.idle: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Forget what the last transaction wrote."""
        self.records: list[Row] = []
        self.states: dict[bytes, Row] = {}
        self.enter: list[Row] = []
        self.leave: list[Row] = []
        self.seq = 0

    def run(self) -> None:
        """Run to the end."""
        while True:
            sources = self.read_sources()
            batch = [(topic, self.fetch(topic, sources[topic][0])) for topic in TOPICS]
            busy = self.batch([(topic, rows) for topic, rows in batch if rows])
            self.mark_idle([topic for topic, rows in batch if not rows])
            ticked = False
            while self.tick():
                ticked = True
            if not (busy or ticked):
                return

    def read_sources(self) -> dict[str, list[Any]]:
        """Return by topic: next offset, newest time, since when it is known to be empty."""
        rows = self.db.execute("SELECT topic, next_offset, max_time, caught_up_at FROM sources WHERE reader = 'detect'")
        return {topic: rest for topic, *rest in rows}

    def fetch(self, topic: str, start: int) -> list[Row]:
        """Read records."""
        query = (
            'SELECT "offset", appended_at, value, key FROM log WHERE topic = ? AND "partition" = 0 AND "offset" >= ? '
            'ORDER BY "offset" LIMIT ?'
        )
        return self.db.execute(query, (topic, start, BATCH)).fetchall()

    def decode(self, value: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return type, envelope and data of a record."""
        schema, kind = self.schemas[int.from_bytes(value[1:5], "big")]
        buffer = BytesIO(value)
        buffer.seek(5)
        data: Any = fastavro.schemaless_reader(buffer, schema, None)
        return kind, data.pop("meta"), data

    def batch(self, fetched: list[tuple[str, list[Row]]]) -> bool:
        """Decide what was fetched, in one transaction."""
        if not fetched:
            return False
        invoices: dict[bytes, tuple[str, list[tuple[Row, dict[str, Any]]]]] = {}
        customers: dict[bytes, str] = {}
        events = []
        newest: dict[str, int] = {}
        for topic, rows in fetched:
            for _, appended_at, value, _ in rows:
                kind, meta, data = self.decode(value)
                at, source = meta["occurred_at"], meta["source"]
                newest[topic] = max(newest.get(topic, NEVER), min(at, appended_at))
                ref = derived(EVENT, meta["tenant"], source, meta["event_id"], at)
                if kind == CHANGED:
                    k = row_key(meta["tenant"], "image:crm.customer", data["customer_id"])
                    customers[k] = data["customer_id"]
                    events.append((kind, meta, data, ref, k))
                elif kind in (ISSUED, PAID):
                    if (item := self.item(kind, meta, data, ref)) is not None:
                        k = row_key(meta["tenant"], "rule:invoice-overdue", data["invoice_id"])
                        invoices.setdefault(k, (data["invoice_id"], []))[1].append(item)
                else:
                    events.append((kind, meta, data, ref, b""))
        self.db.execute("BEGIN IMMEDIATE")
        self.begin()
        self.seq = self.next_seq()
        sources = self.read_sources()
        known = self.read_state([*customers, *invoices])
        images = {k: None if (raw := known.get(k)) is None else json.loads(raw) for k in customers}
        for kind, meta, data, ref, k in events:
            version = meta["occurred_at"] if meta["sequence"] is None else meta["sequence"]
            if kind == CHANGED:
                images[k] = complete(data, version, images[k])
            for rule, captured in matches(kind, data):
                episode = (meta["occurred_at"], meta["source"], ref)
                self.record(rule, "fired", [], episode, episode[0], f"customer:{data['customer_id']}", [captured])
        for k, image in images.items():
            value = to_json(image).encode()
            self.states[k] = (k, "image:crm.customer", "default", f'["{customers[k]}"]', value, None)
        before = watermarks(sources) if invoices else {}
        spans = []
        for topic, rows in fetched:
            start, old, _ = sources[topic]
            sources[topic][:2] = rows[-1][0] + 1, newest[topic] if old is None else max(old, newest[topic])
            spans.append([topic, 0, start, sources[topic][0], []])
        after = watermarks(sources) if invoices else {}
        w0 = of_rule(before) if invoices else NEVER
        w1 = max(w0, of_rule(after)) if invoices else NEVER
        for k in sorted(invoices):
            name, arrived = invoices[k]
            invoice = Invoice(self, k, name, known.get(k))
            invoice.read_buffer(w1)
            invoice.take(arrived, w0, w1)
            self.keep(invoice)
        self.write("batch", spans, [], before, after)
        self.db.executemany(
            "UPDATE sources SET next_offset = ?, max_time = ?, fingerprint = ? WHERE reader = 'detect' AND topic = ?",
            [(*sources[topic][:2], fingerprint(rows[-1]), topic) for topic, rows in fetched],
        )
        self.db.execute("COMMIT")
        return True

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

    def mark_idle(self, topics: list[str]) -> None:
        """Write down that topics were read to their ends."""
        fresh = [topic for topic in topics if topic not in self.idle]
        if fresh:
            query = "UPDATE sources SET caught_up_at = ? WHERE reader = 'detect' AND topic = ?"
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(query, [(self.now, topic) for topic in fresh])
            self.db.execute("COMMIT")
            self.idle.update(fresh)

    def tick(self) -> bool:
        """Run what W has reached, up to 200 keys."""
        topics = watermarks(self.read_sources())
        w = of_rule(topics)
        due = self.db.execute(
            "SELECT k, key, value FROM state WHERE class = 'rule:invoice-overdue' AND due IS NOT NULL AND due <= ? "
            "ORDER BY class, due, k LIMIT ?",
            (w, TICK),
        ).fetchall()
        if not due:
            return False
        self.db.execute("BEGIN IMMEDIATE")
        self.begin()
        self.seq = self.next_seq()
        due.sort()
        for k, key, value in due:
            invoice = Invoice(self, k, json.loads(key)[0], value)
            invoice.read_buffer(w)
            invoice.run(w)
            self.keep(invoice)
        self.write("tick", [], [k.hex() for k, _, _ in due], topics, topics)
        self.db.execute("COMMIT")
        return True

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

    def read_state(self, keys: list[bytes]) -> dict[bytes, bytes | None]:
        """Return the values of rows of state."""
        found: dict[bytes, bytes | None] = {}
        for at in range(0, len(keys), CHUNK):
            part = keys[at : at + CHUNK]
            found.update(self.db.execute(f"SELECT k, value FROM state WHERE k IN ({','.join('?' * len(part))})", part))
        return found

    def next_seq(self) -> int:
        """Draw the number of a transaction."""
        query = (
            "INSERT INTO sequences VALUES ('journal', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
            "RETURNING value"
        )
        return int(self.db.execute(query).fetchone()[0])

    def write(
        self, kind: str, spans: list[Any], keys: list[str], before: dict[str, int], after: dict[str, int]
    ) -> None:
        """Write rows, records and the journal."""
        db = self.db
        gone = [(k,) for k, row in self.states.items() if row[4] is None]
        kept = [row for row in self.states.values() if row[4] is not None]
        db.executemany("DELETE FROM state WHERE k = ?", gone)
        db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?)", kept)
        where = "k = ? AND time = ? AND rank = ? AND source = ? AND ref = ?"
        db.executemany(f"DELETE FROM buffer WHERE {where}", self.leave)
        db.executemany("INSERT OR IGNORE INTO buffer VALUES (?, ?, ?, ?, ?, ?)", self.enter)
        db.executemany(f"INSERT OR IGNORE INTO records VALUES ({','.join('?' * 11)})", self.records)
        body = {
            "rule_set": self.rule_set, "spans": spans, "keys": keys, "w_before": before, "w_after": after,
            "floors": {}, "code": 2,
        }  # fmt: skip
        db.execute("INSERT INTO journal VALUES (?, ?, ?)", (self.seq, kind, to_json(body).encode()))


def watermarks(sources: dict[str, list[Any]]) -> dict[str, int]:
    """Return how far the topics of the absence rule are complete."""
    found = {}
    for topic in ABSENCE:
        _, newest, caught_up = sources[topic]
        found[topic] = max(NEVER if newest is None else newest - 1, NEVER if caught_up is None else caught_up)
    return found


def of_rule(topics: dict[str, int]) -> int:
    """Return how far its events are complete."""
    w = min(topics.values())
    return w if w == NEVER else w - LATENESS


def main() -> None:
    """Run, and print the time it took."""
    loop = Loop(sys.argv[1], int(sys.argv[2]))
    begun, used = time.perf_counter(), cpu()
    loop.run()
    print(json.dumps({"wall": time.perf_counter() - begun, "cpu": cpu() - used}))
    loop.db.close()


def cpu() -> float:
    """Return the processor time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
