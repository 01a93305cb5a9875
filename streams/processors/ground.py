"""When the ground moves, as transactions: sources that are held, what a person decided, the hold of dispatch.

A hold is told, not enforced: whoever takes a partition over compares the log with the row of its source, and reads
nothing where they differ. The rows in `holds` say so to people. Each decision leaves a row in `audit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.processors import detect, endings, people
from streams.processors.audit import audit
from streams.processors.dispatch import CONTROLS
from streams.processors.endings import Ending
from tidings import canonical
from tidings.gates import GROUND
from tidings.ground import Choice, Finding, Moved, Standing, moved_row
from tidings.log import Partition
from tidings.ports import Body, Delete, Exclude, Insert, Lock, Now, Put, Read, Row, Scan, Transaction

ARCHIVE = "archive"
"""The reader that copies records into the table `log`."""
READERS = (detect.READER, people.READER, ARCHIVE)

COMPARED = "ground:compared"
"""Epoch row: which database was compared with the topics, and since when its server ran then (`PostgresStore.run_of_server`).

In a restored dump it is another database's; in a volume that was put back, an earlier start's.
"""

Source = tuple[str, str, int]
"""(reader, topic, partition): the key of `sources` and of `holds`."""

DISPATCH: Source = ("dispatch", "", 0)
"""The row of `holds` that says why nobody is told anything."""
OLDER = "database_older"
SETTLED = "ground:committed"
"""Epoch row: what Kafka had committed when a person decided. It is no evidence again."""


def standing_of(row: Row) -> Standing:
    """Return where a row of `sources` stands, in the log's own offsets."""
    return Standing(row["next_offset"] - row["base"], row["fingerprint"], row["log_id"])


def finding_of(hold: Row) -> Finding:
    """Return why a source is held."""
    body = canonical.loads(hold["body"])
    return Finding(Moved(hold["reason"]), body["position"], body["start"], body["end"])


def read_sources(places: Sequence[Partition], readers: Sequence[str] = READERS) -> Body[dict[Source, Row]]:
    """Return the body that reads the rows of some partitions."""

    def body() -> Transaction[dict[Source, Row]]:
        rows = yield Read("sources", sorted((reader, *place) for place in places for reader in readers))
        return rows  # type: ignore[no-any-return]

    return body


def read_holds() -> Transaction[dict[Source, Row]]:
    """Read everything that is held."""
    return {(row["reader"], row["topic"], row["partition"]): row for row in (yield Scan("holds"))}


def note(
    found: Mapping[Source, Finding], proven: Sequence[Source], judged: Mapping[Source, Row]
) -> Body[tuple[list[Source], list[Source]]]:
    """Return the body that writes what is held, and ends what is proven to be in order; what is new of either.

    `judged` are the rows upon which that was said. Where one has moved since, as by a person's decision, nothing is
    written: it would hold what was just let go, and nothing that is seen afterwards would end it.
    """

    def body() -> Transaction[tuple[list[Source], list[Source]]]:
        stand = yield Lock("sources", sorted({*found, *proven}))
        still = {source for source, row in stand.items() if row is not None and row == judged[source]}
        now = yield Now()
        known = yield Read("holds", sorted(still))
        rows: list[Row] = []
        new = []
        for source, finding in sorted(found.items()):
            if source not in still:
                continue
            old = known.get(source)
            row = {
                "reader": source[0], "topic": source[1], "partition": source[2], "reason": str(finding.moved),
                "at": now if old is None else old["at"], "body": canonical.dumps(finding.to_body()),
            }  # fmt: skip
            if old != row:
                rows.append(row)
            if old is None or old["reason"] != row["reason"]:
                new.append(source)
        ended = sorted(source for source in proven if source in known and source in still)
        if rows:
            yield Put("holds", rows)
        if ended:
            yield Delete("holds", ended)
        return new, ended

    return body


def adopt(logs: Mapping[Source, tuple[int, str]]) -> Body[int]:
    """Return the body that takes down which topic is read, where a source still stands at the position given with it."""

    def body() -> Transaction[int]:
        rows: list[Row] = []
        for source, row in (yield Lock("sources", sorted(logs))).items():
            position, log_id = logs[source]
            if row is not None and row["next_offset"] - row["base"] == position:
                rows.append({**row, "log_id": log_id})
        if rows:
            yield Put("sources", rows)
        return len(rows)

    return body


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about one partition, and upon which facts."""

    place: Partition
    choice: Choice
    findings: Mapping[str, Finding]
    """By reader."""
    fingerprint: str | None
    """Of the record before the chosen offset."""
    log_id: str | None
    """Of the topic as it is now."""
    rows: Mapping[Source, Row]
    """As they stood when the facts were looked at."""


def accept(decision: Decision, who: str) -> Body[bool]:
    """Return the body that goes on as decided; False, and nothing is written, if a row has moved since."""
    sources = sorted(decision.rows)

    def body() -> Transaction[bool]:
        held = yield Lock("sources", sources)
        if any(held[source] != decision.rows[source] for source in sources):
            return False
        highest = max(row["next_offset"] for row in decision.rows.values())
        concerned = sources if decision.choice.another_log else [s for s in sources if s[0] in decision.findings]
        marks = (decision.fingerprint, decision.log_id)
        after = [moved_row(decision.rows[s], decision.choice, highest, *marks) for s in concerned]
        yield Put("sources", after)
        yield Delete("holds", sources)
        topic, partition = decision.place
        if decision.choice.another_log:
            # A worker that had not noticed yet may have told the new topic how far it was in the old one.
            told = max(standing_of(row).position for row in decision.rows.values())
            yield from _settle({decision.place: after[0]["base"] + told})
        said = {
            "topic": topic, "partition": partition, "at": decision.choice.at, "skipped": decision.choice.skipped,
            "expired": decision.choice.expired, "another_log": decision.choice.another_log,
            "findings": {reader: str(one.moved) for reader, one in decision.findings.items()},
            "before": [[s[0], r["base"], r["next_offset"]] for s, r in sorted(decision.rows.items())],
            "after": [[r["reader"], r["base"], r["next_offset"]] for r in after],
        }  # fmt: skip
        yield from audit("sources accept", who, said)
        return True

    return body


@dataclass(frozen=True, slots=True)
class Older:
    """What shows that the database is older than the topics."""

    committed: Mapping[Partition, tuple[int, int]] = field(default_factory=dict)
    """Where the database goes on, and what Kafka knows as committed; both in the store's offsets."""
    numbers: Mapping[Partition, tuple[int, int]] = field(default_factory=dict)
    """Of outcome topics: the last number in the database, and the last one in the topic."""

    def __bool__(self) -> bool:
        """Return whether anything does."""
        return bool(self.committed or self.numbers)

    @property
    def unknown(self) -> int:
        """Records that were decided, and whose decisions this database does not have."""
        return sum(theirs - ours for ours, theirs in self.committed.values())

    @property
    def untold(self) -> int:
        """Outcomes that the topics know, and this database does not."""
        return sum(theirs - ours for ours, theirs in self.numbers.values())

    def __str__(self) -> str:
        """Return the sentence for log and doctor."""
        parts = []
        if self.committed:
            parts.append(
                f"{self.unknown} records over {len(self.committed)} partitions were decided in one that is gone"
            )
        if self.numbers:
            parts.append(f"{self.untold} outcomes are in the topics only")
        return f"the database is older than the topics: {'; '.join(parts)}"


def older(
    rows: Mapping[Source, Row],
    committed: Mapping[Partition, int],
    settled: Mapping[Partition, int],
    numbers: Mapping[Partition, tuple[int, int]] | None = None,
) -> Older:
    """Compare: workers commit to Kafka only what the database has committed, so it is never behind by itself.

    `committed` is in the log's own offsets, `settled` in the store's.
    """
    behind = {}
    for (reader, topic, partition), row in rows.items():
        place = (topic, partition)
        if reader == detect.READER and place in committed:
            theirs = committed[place] + row["base"]
            if theirs > max(row["next_offset"], settled.get(place, 0)):
                behind[place] = (row["next_offset"], theirs)
    return Older(behind, {place: pair for place, pair in (numbers or {}).items() if pair[1] > pair[0]})


def read_settled() -> Transaction[dict[Partition, int]]:
    """Read what is settled: by a person, or because the topic was made again."""
    row = (yield Read("epochs", [(SETTLED,)])).get((SETTLED,))
    return {} if row is None else {(t, p): at for t, p, at in canonical.loads(row["value"].encode())}


def read_compared() -> Transaction[str | None]:
    """Read which database, and which start of its server, was compared last."""
    row = (yield Read("epochs", [(COMPARED,)])).get((COMPARED,))
    return None if row is None else row["value"]


def write_compared(run: str) -> Body[None]:
    """Return the body that remembers it."""

    def body() -> Transaction[None]:
        yield Put("epochs", [{"name": COMPARED, "value": run}])

    return body


def hold_dispatch(evidence: Older) -> Body[bool]:
    """Return the body that holds dispatch and delivery as a whole; after it no intent follows. True: it was not held."""

    def body() -> Transaction[bool]:
        yield Exclude(CONTROLS)
        held = yield Read("holds", [DISPATCH])
        now = yield Now()
        if held:
            return False
        # Inserted, not put: whoever finds it may stop everything, and change nobody's stop.
        yield Insert("kills", [{"scope": GROUND, "state": "killed", "at": now, "by": "ground", "reason": OLDER}])
        said = canonical.dumps(
            {
                "committed": [[*place, *pair] for place, pair in sorted(evidence.committed.items())],
                "numbers": [[*place, *pair] for place, pair in sorted(evidence.numbers.items())],
            }
        )
        reader, topic, partition = DISPATCH
        row = {"reader": reader, "topic": topic, "partition": partition, "reason": OLDER, "at": now, "body": said}
        yield Insert("holds", [row])
        return True

    return body


def _settle(more: Mapping[Partition, int]) -> Transaction[None]:
    """Write down what is no evidence any more."""
    settled = yield from read_settled()
    settled |= {place: max(at, settled.get(place, 0)) for place, at in more.items()}
    value = canonical.dumps([[*place, at] for place, at in sorted(settled.items())]).decode()
    yield Put("epochs", [{"name": SETTLED, "value": value}])


def read_older(hold: Row) -> Older:
    """Return the evidence of a hold of dispatch."""
    body = canonical.loads(hold["body"])
    found = [{(t, p): (ours, theirs) for t, p, ours, theirs in body[name]} for name in ("committed", "numbers")]
    return Older(*found)


def release_dispatch(who: str) -> Body[Ending | None]:
    """Return the body that ends the hold, once a person has decided; what waits goes on with it. None: nothing was held."""

    def body() -> Transaction[Ending | None]:
        yield Exclude(endings.ENDINGS)
        yield Exclude(CONTROLS)
        hold = (yield Read("holds", [DISPATCH])).get(DISPATCH)
        if hold is None:
            return None
        evidence = read_older(hold)
        yield from _settle({place: theirs for place, (_, theirs) in evidence.committed.items()})
        yield Delete("holds", [DISPATCH])
        kill = (yield Read("kills", [(GROUND,)])).get((GROUND,), {"scope": GROUND, "at": hold["at"]})
        yield from audit("ground release", who, {**canonical.loads(hold["body"]), "since": kill["at"]})
        return (yield from endings.begin(endings.RELEASE, kill, who, OLDER))

    return body
