"""What a worker on Kafka shows beside the metrics of every engine: lag, assignment, rebalances, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streams.kafka.worker_process import WorkerProcess
from tidings.event import SECOND
from tidings.rule import NEVER


@dataclass(frozen=True, eq=False)
class WorkerMetrics(Collector):
    """Reads a worker at each scrape; topics are named as in the contracts."""

    process: WorkerProcess

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        process, intake = self.process, self.process.intake
        lag = GaugeMetricFamily(
            "tidings_partition_lag_records", "Offsets between what is applied and the end of a partition.",
            labels=("topic", "partition"),
        )  # fmt: skip
        for (topic, partition), records in sorted(process.behind.items()):
            lag.add_metric((topic, str(partition)), records)
        yield lag
        yield _by_topic("last_event_timestamp_seconds", "Append time of the newest record applied.", process.newest)
        yield _by_topic(
            "topic_watermark_timestamp_seconds", "How far a topic is known to be complete.", process.watermarks
        )
        yield _gauge("assigned_partitions", "Partitions that this worker reads.", len(process.partitions))
        yield _gauge("unread_partitions", "Partitions assigned to this worker that it does not read: held, or not known.",
                     0 if intake is None else len(intake.unread))  # fmt: skip
        yield _gauge("kafka_answers", "Whether a broker answered the last question.", process.kafka_away is None)
        yield _counter("rebalances", "Rebalances of the group that this worker saw.", process.rebalances)
        if intake is None:
            return
        counts = intake.counts
        yield SummaryMetricFamily(
            "tidings_batch_seconds",
            "Batches that were applied, and how long each took.",
            counts.batches,
            counts.seconds,
        )
        yield _counter("batch_repeats", "Times that another worker had moved a position.", counts.skipped)
        yield _counter("batch_holes", "Times that a batch was lost on the way, and fetched again.", counts.holes)
        yield _counter("idle_marks", "Rows of partitions that were marked empty at their end.", counts.marks)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidings_{name}", documentation, value=float(value))


def _counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"tidings_{name}", documentation, value=float(value))


def _by_topic(name: str, documentation: str, times: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tidings_{name}", documentation, labels=("topic",))
    for topic, at in sorted(times.items()):
        if at > NEVER:
            family.add_metric((topic,), at / SECOND)
    return family
