"""What a worker tells Prometheus. Seconds, bytes and counts; no label ever names a session, an item or an event.

`nextclick_serving_*` is what the room `serving` does, `nextclick_stream_*` the worker around it. How often a list had
to fall back on what is popular is in `nextclick_stream_lists_total{source="popularity"}`, and nowhere else.
"""

import time
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from serving.process import Hit
from stream.pipeline.compute import Incoming, Outcome

# Around the objective of a few milliseconds; what waits longer than seconds waited for a worker, not for its work.
LATENCY_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.064, 0.125, 0.25, 0.5),
    *(1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0),
)
AGE_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0, 604800.0)
STAGE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)

STAGES = ("decode", "state", "process", "emit", "changelog")  # serving's encode and search are parts of process
OUTCOMES = ("served", "dead_letter", "duplicate", "replayed", "superseded", "too_old")
PREQUENTIAL_K = (1, 5, 10, 20)


class Metrics:
    """All metrics of the stream, in one registry.

    Args:
        registry: where they are registered; a new one by default, so that two workers in one process do not meet.

    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"nextclick_stream_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str] = (), room: str = "stream") -> Gauge:
            return Gauge(f"nextclick_{room}_{name}", text, labels, registry=registry)

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = (), room: str = "stream"
        ) -> Histogram:
            return Histogram(f"nextclick_{room}_{name}", text, labels, registry=registry, buckets=buckets)

        self.events = counter("events_total", "Events that came to their end, by how.", ["outcome"])
        self.dead_letters = counter("dead_letters_total", "Events that became dead letters, by reason.", ["reason"])
        self.lists = counter("lists_total", "Lists published, by what made them.", ["source"])
        self.misrouted = counter(
            "misrouted_keys_total", "Sessions first seen in another partition than murmur2 of their key gives."
        )
        self.expired = counter("expired_sessions_total", "Sessions that left the table after their gap.")
        self.latency = histogram(
            "event_to_recommendation_seconds",
            "From the broker's timestamp of a click to the acknowledgement of its list.",
            LATENCY_BUCKETS_S,
        )
        self.age = histogram("event_age_seconds", "Now less the event's own time, when its list is out.", AGE_BUCKETS_S)
        self.stages = histogram("stage_seconds", "Time that a batch spends in each stage.", STAGE_BUCKETS_S, ["stage"])
        self.batch = histogram("batch_events", "Events in a batch.", BATCH_BUCKETS)
        self.lag = gauge("consumer_lag_events", "Clicks in a partition that are not finished.", ["partition"])
        self.sessions = gauge("session_table_entries", "Sessions in the table.")
        self.session_bytes = gauge("session_table_bytes", "Bytes of the states in the table, without overhead.")
        self.recovery = gauge("recovery_seconds", "How long the last recovery of the session table took.")
        self.recovered = counter("recovered_records_total", "Changelog records read to recover the session table.")
        self.bundle = gauge("bundle_info", "1 for the bundle that serves.", ["bundle", "encoder", "recipe"], "serving")
        self.encode = histogram("encode_seconds", "Session vectors of a batch.", STAGE_BUCKETS_S, room="serving")
        self.search = histogram("search_seconds", "Index and lists of a batch.", STAGE_BUCKETS_S, room="serving")
        self.evaluated = counter(
            "prequential_evaluated_total", "Clicks of sessions that had a list before, by its bundle.", ["bundle"]
        )
        self.hits = counter(
            "prequential_hits_total", "Those whose item was among the first k of that list.", ["bundle", "k"]
        )
        self.reciprocal_ranks = counter(
            "prequential_reciprocal_rank_total", "Sum of 1/rank of those; divided by evaluated: MRR@k.", ["bundle", "k"]
        )
        # A series that is missing until something happens makes rate() miss the first time that it does.
        for outcome in OUTCOMES:
            self.events.labels(outcome)
        self.timers = {stage: self.stages.labels(stage) for stage in STAGES}
        """The histogram of each stage, those of `process` included."""
        self.timers |= {"encode": self.encode, "search": self.search}

    def count_batch(self, records: Sequence[Incoming], outcome: Outcome) -> None:
        """Count a batch that has come to its end."""
        now = time.time()
        self.batch.observe(len(records))
        for stage, seconds in outcome.seconds.items():
            self.timers[stage].observe(seconds)
        for answer in outcome.answers:
            if answer.record.timestamp_ms >= 0:
                self.latency.observe(max(0.0, now - answer.record.timestamp_ms / 1000))
            self.age.observe(max(0.0, now - answer.click.timestamp_ms / 1000))
            self.lists.labels(answer.source).inc()
        for dead in outcome.dead:
            self.dead_letters.labels(dead.reason).inc()
        self.events.labels("served").inc(len(outcome.answers))
        self.events.labels("dead_letter").inc(len(outcome.dead))
        self.events.labels("duplicate").inc(outcome.duplicates)
        self.events.labels("replayed").inc(outcome.replayed)
        self.events.labels("superseded").inc(outcome.superseded)
        self.events.labels("too_old").inc(outcome.too_old)
        self.misrouted.inc(outcome.misrouted)
        self.count_hits(outcome.hits)

    def count_hits(self, hits: Iterable[Hit]) -> None:
        """Score the lists that were shown just before these clicks."""
        for hit in hits:
            self.evaluated.labels(hit.bundle).inc()
            for k in PREQUENTIAL_K:
                found = 0 < hit.rank <= k
                self.hits.labels(hit.bundle, str(k)).inc(found)
                self.reciprocal_ranks.labels(hit.bundle, str(k)).inc(1 / hit.rank if found else 0.0)
