"""Metrics in the words of the reasons and states: counters fed by what the engine shows, gauges read at each scrape.

Labels come from closed lists only: reasons, states, channels, types of the contracts, rules that were loaded. Nothing
that a customer or a producer chooses becomes a label.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.http.look import Look
from streams.processors.detect import Batch, Done
from streams.processors.dispatch import Passed
from streams.processors.outcomes import Published, TookOver
from streams.processors.results import Sent
from streams.processors.setbacks import InternalError
from streams.stores.counts import Waiting
from tidings.event import SECOND, Event, Micros
from tidings.message import Message
from tidings.reasons import OPEN, MessageState
from tidings.rule import NEVER, RuleSet

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MEMORY = 8192
"""Messages and dead letters of which the last state is remembered, so that one that is seen twice counts once."""
OTHER = "other"
"""Label of what is in no list: a rule that has been removed since."""
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28_800, 86_400)
"""From a prompt mail to one that was held for a night."""
SCOPES = ("all", "tenant", "rule", "channel", "provider", "ground")

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class State:
    """What the gauges of one scrape show; what could not be read is None, and `tidings_store_readable` is 0."""

    rules: RuleSet
    ages: Mapping[str, float]
    """By loop: seconds since it last finished a round."""
    look: Look | None
    waiting: Waiting | None
    repeats: Mapping[str, int] = field(default_factory=dict)
    """By cause: transactions that were run again because they met others; a store with one writer has none."""
    skews: Mapping[str, Micros | None] = field(default_factory=dict)
    """By whose clock: how far it is ahead of ours, where that is known."""
    lags: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By reader and topic, where the heads of the log are not in the store."""
    now: Micros = 0
    """By the engine's clock."""
    ways: Mapping[str, bool] = field(default_factory=dict)
    """By way out, of a process that delivers: whether messages are held back, because its provider is away."""


class Metrics:
    """One registry of one engine. `observe` is what the engine calls; `text` what Prometheus reads."""

    def __init__(self, rules: Callable[[], RuleSet], types: Iterable[str], clock: Callable[[], Micros]) -> None:
        """Count for the rule set that is active, over the types of the contracts, by the engine's clock."""
        self.rules = rules
        self.types = frozenset(types)
        self.clock = clock
        self.refused = False
        """Whether an edited rule set is not in use; set by whoever loads rules."""
        self.registry = CollectorRegistry()
        self._taken: dict[tuple[str, int], int] = {}
        self._seen: OrderedDict[object, object] = OrderedDict()
        self._events = self._counter("events", "Records that were read, by event type.", "type")
        self._dead = self._counter("dead_letters", "Records that were set aside, by reason.", "reason")
        self._records = self._counter("detection_records", "What rules said, by kind.", "rule", "kind")
        self._messages = self._counter(
            "messages", "Messages that entered a state, with its reason.", "state", "reason", "channel", "rule"
        )
        self._attempts = self._counter("attempts", "Calls of a provider, by how far they came.", "channel", "outcome")
        self._alerts = self._counter("alerts", "Messages that failed, of steps whose owner wants to know.", "rule")
        self._internal = self._counter("internal_errors", "Faults of our own code that were gone around.", "where")
        self._published = self._counter("outcomes_published", "Outcome events that went to their topic.", "topic")
        self._take_overs = self._counter("relay_take_overs", "Times that this process began to publish the outcomes.")
        self._decided = Histogram(
            "tidings_append_to_decision_seconds", "From the append of a batch's first record to its commit.",
            registry=self.registry, buckets=SECONDS,
        )  # fmt: skip
        self._accepted = Histogram(
            "tidings_event_to_accepted_seconds", "From the event, or the timer that was due, to the provider's yes.",
            ["channel"], registry=self.registry, buckets=SECONDS,
        )  # fmt: skip

    def observe(self, seen: object) -> None:
        """Count what the engine did."""
        match seen:
            case Batch():
                self._batch(seen)
            case Done():
                for (rule, kind), count in Tally((self._rule(one.rule), one.kind) for one in seen.records).items():
                    self._records.labels(rule, kind).inc(count)
            case Passed():
                for message in seen.result.messages.values():
                    self._message(message)
            case Sent():
                self._attempts.labels(seen.outgoing.channel, seen.outcome.stage).inc()
                self._message(seen.message)
            case Message():
                self._message(seen)
            case Published():
                self._published.labels(seen.topic).inc(seen.count)
            case TookOver():
                self._take_overs.inc()
            case InternalError():
                self._internal.labels(seen.where).inc()

    def text(self, state: State) -> bytes:
        """Return everything in Prometheus' text format."""
        scrape = CollectorRegistry()
        scrape.register(_Collected(self.registry))
        scrape.register(_Gauges(state, refused=self.refused))
        return generate_latest(scrape)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"tidings_{name}", documentation, labels, registry=self.registry)

    def _batch(self, batch: Batch) -> None:
        """Count each record once: customers' topics are read by two readers."""
        taken = self._taken
        seen = any(span.start < taken.get((span.topic, span.partition), 0) for span in batch.spans)
        fresh: Sequence[Event] = batch.events
        if seen:
            fresh = [one for one in fresh if one.offset >= taken.get((one.topic, one.partition), 0)]
        for kind, count in Tally(one.type if one.type in self.types else OTHER for one in fresh).items():
            self._events.labels(kind).inc(count)
        if fresh:
            took = self.clock() - min(one.appended_at for one in fresh)
            self._decided.observe(max(0.0, took / SECOND))
        for span in batch.spans:
            place = (span.topic, span.partition)
            taken[place] = max(taken.get(place, 0), span.end)
        for refused in batch.refused:
            record = refused.record
            if self._is_new((record.topic, record.partition, record.offset), refused.reason):
                self._dead.labels(refused.reason).inc()

    def _message(self, message: Message) -> None:
        if not self._is_new(message.message_id, (message.state, message.reason)):
            return
        rule = self._rule(message.rule)
        self._messages.labels(str(message.state), str(message.reason or ""), message.channel, rule).inc()
        if message.state is MessageState.ACCEPTED:
            took = (self.clock() - message.body["logical_at"]) / SECOND
            self._accepted.labels(message.channel).observe(max(0.0, took))
        if is_alert(message):
            self._alerts.labels(rule).inc()

    def _rule(self, name: str) -> str:
        return name if name in self.rules().by_id else OTHER

    def _is_new(self, what: object, state: object) -> bool:
        if self._seen.get(what) == state:
            return False
        self._seen[what] = state
        self._seen.move_to_end(what)
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return True


def is_alert(message: Message) -> bool:
    """Return whether the rule's owner is to hear that this message did not get through (`on_failure: alert`)."""
    return message.state in (MessageState.FAILED, MessageState.UNRESOLVED) and message.body.get("alert") is True


@dataclass(frozen=True, eq=False)
class _Collected(Collector):
    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        yield from self.registry.collect()


@dataclass(frozen=True, eq=False)
class _Gauges(Collector):
    state: State
    refused: bool

    def collect(self) -> Iterator[Metric]:
        state = self.state
        readable = state.look is not None and state.waiting is not None
        yield _gauge("store_readable", "Whether the store could be read for this scrape.", [((), readable)])
        repeats = CounterMetricFamily(
            "tidings_store_repeats", "Transactions that were run again because they met others.", labels=["cause"]
        )
        for cause, count in sorted(state.repeats.items()):
            repeats.add_metric([cause], count)
        yield repeats
        ages = [((name,), age) for name, age in sorted(state.ages.items())]
        yield _gauge("loop_age_seconds", "Since a loop last finished a round.", ages, "loop")
        known = [((name,), skew / SECOND) for name, skew in sorted(state.skews.items()) if skew is not None]
        if state.skews:
            yield _gauge("clock_skew_seconds", "How far another clock is ahead of ours.", known, "against")
        if state.ways:
            turned = [((name,), held) for name, held in sorted(state.ways.items())]
            yield _gauge(
                "provider_open", "Whether messages are held back from a provider that is away.", turned, "provider"
            )
        by_status = Tally(rule.status for rule in state.rules.rules)
        rows = [((status,), by_status[status]) for status in ("draft", "shadow", "live")]
        yield _gauge("rules", "Rules of the set in use.", rows, "status")
        yield _gauge("rules_refused", "Whether an edited rule set is not in use.", [((), self.refused)])
        if state.waiting is not None:
            yield from _waiting(state.waiting, state.rules, state.now)
        if state.look is not None:
            yield from _looked(state.look, state.rules, state.look.lag or state.lags, delivers=bool(state.ways))


def _waiting(waiting: Waiting, rules: RuleSet, now: Micros) -> Iterator[Metric]:
    rows = [((str(one),), waiting.messages.get(str(one), 0)) for one in sorted(OPEN)]
    yield _gauge("open_messages", "Messages that have not ended.", rows, "state")
    yield _gauge("undispatched_records", "What rules said and dispatch has not read.", [((), waiting.records)])
    if waiting.outcomes is not None:
        yield _gauge("unpublished_outcomes", "Outcome events that are in no topic yet.", [((), waiting.outcomes)])
        age = _age(now, waiting.oldest_outcome)
        yield _gauge("oldest_unpublished_outcome_seconds", "How long the first of them has been waiting.", [((), age)])
    if waiting.kept is not None:
        yield _gauge("kept_events", "Events that were taken and wait for Kafka.", [((), waiting.kept)])
        age = _age(now, waiting.oldest_kept)
        yield _gauge("oldest_kept_event_seconds", "How long the first of them has been waiting.", [((), age)])
    keys = {rule.id: waiting.keys.get(rule.id, 0) for rule in rules.stateful}
    keys[OTHER] = sum(waiting.keys.values()) - sum(keys.values())
    yield _gauge(
        "waiting_keys", "Keys of a rule that wait for a time, as an absence does for its deadline.",
        [((rule,), count) for rule, count in sorted(keys.items())], "rule",
    )  # fmt: skip


def _looked(look: Look, rules: RuleSet, lag: Mapping[tuple[str, str], int], *, delivers: bool) -> Iterator[Metric]:
    rows = [((what,), _age(look.now, look.due.get(what))) for what in ("message", "recipient")]
    if delivers:  # who does not, does not know what is held back
        rows.append((("could_leave",), _age(look.now, look.could_leave)))
    yield _gauge("oldest_due_seconds", "How long the first of what is due has been waiting.", rows, "what")
    lags = [(place, count) for place, count in sorted(lag.items())]
    yield _gauge("lag_records", "Records that a reader has not taken.", lags, "reader", "topic")
    lateness = {rule.id: rule.operator.allowed_lateness for rule in rules.stateful}
    ages = [
        ((rule,), _age(look.now, w if w == NEVER else w + lateness.get(rule, 0)))
        for rule, w in sorted(look.watermarks.items())
    ]
    yield _gauge(
        "watermark_age_seconds", "How far behind a rule's events are known to be complete, beyond its allowed_lateness.",
        ages, "rule",
    )  # fmt: skip
    kills = Tally(scope.partition(":")[0] for scope in look.kills)
    yield _gauge(
        "kills", "Scopes in which an operator has stopped sending.", [((s,), kills[s]) for s in SCOPES], "scope"
    )
    info = InfoMetricFamily("tidings_rule_set", "The rule set that decides.")
    info.add_metric([], {"hash": (look.active or "none")[:12]})
    yield info


def _gauge(
    name: str, documentation: str, rows: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tidings_{name}", documentation, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def _age(now: Micros, since: Micros | None) -> float:
    if since is None:
        return 0.0
    return float("inf") if since == NEVER else max(0.0, (now - since) / SECOND)
