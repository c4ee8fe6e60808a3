"""What a worker tells Prometheus. Seconds, bytes and counts; no label ever names a session, an item or an event.

`nextclick_serving_*` is what the room `serving` does, `nextclick_stream_*` the worker around it. How often a list had
to fall back on what is popular is in `nextclick_stream_lists_total{source="popularity"}`, and nowhere else.
"""

from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from stream.histogram import FastHistogram
from stream.pipeline.compute import Outcome

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
# Producers' clocks differ from the broker's by less than this where anybody keeps them.
CLOCKS_DIFFER_MS = 5_000

# Every click comes by here: a generator of Python costs three times as much.
_BUNDLE_AND_RANK = attrgetter("bundle", "rank")


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
        self.ahead = counter(
            "clock_ahead_clicks_total",
            "Clicks with a list whose own time lies more than five seconds ahead of the broker's.",
        )
        self.expired = counter("expired_sessions_total", "Sessions that left the table after their gap.")
        self.latency = FastHistogram(
            "nextclick_stream_event_to_recommendation_seconds",
            "From the broker's timestamp of a click to the acknowledgement of its list, as seen every 5 ms.",
            LATENCY_BUCKETS_S,
            registry,
        )
        self.age = FastHistogram(
            "nextclick_stream_event_age_seconds",
            "Now less the event's own time, when its list is out.",
            AGE_BUCKETS_S,
            registry,
        )
        self.stages = histogram("stage_seconds", "Time that a batch spends in each stage.", STAGE_BUCKETS_S, ["stage"])
        self.batch = histogram("batch_events", "Events in a batch.", BATCH_BUCKETS)
        self.lag = gauge("consumer_lag_events", "Clicks in a partition that are not finished.", ["partition"])
        self.sessions = gauge("session_table_entries", "Sessions in the table.")
        self.session_bytes = gauge("session_table_bytes", "Bytes of the states in the table, without overhead.")
        self.recovery = gauge("recovery_seconds", "How long the last recovery of the session table took.")
        self.recovered = counter("recovered_records_total", "Changelog records read to recover the session table.")
        self.bundle = gauge("bundle_info", "1 for the bundle that serves.", ["bundle", "sides", "recipe"], "serving")
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
        self._of_bundle: dict[str, list[tuple[int, Counter, Counter]]] = {}
        # A series that is missing until something happens makes rate() miss the first time that it does.
        self.outcomes = {outcome: self.events.labels(outcome) for outcome in OUTCOMES}
        self.timers = {stage: self.stages.labels(stage) for stage in STAGES}
        """The histogram of each stage, those of `process` included."""
        self.timers |= {"encode": self.encode, "search": self.search}

    def count_batch(self, tally: "Tally", at: float) -> None:
        """Count a batch that has come to its end, whose lists were acknowledged at that time (seconds since 1970)."""
        self.batch.observe(tally.events)
        for stage, seconds in tally.seconds.items():
            self.timers[stage].observe(seconds)
        self.latency.observe_all(_since(at, tally.got_ms))
        self.age.observe_all(_since(at, tally.sent_ms))
        self.ahead.inc(tally.ahead)
        for source, count in tally.sources.items():
            self.lists.labels(source).inc(count)
        for reason, count in tally.dead.items():
            self.dead_letters.labels(reason).inc(count)
        for outcome, count in tally.outcomes.items():
            if count:
                self.outcomes[outcome].inc(count)
        if tally.misrouted:
            self.misrouted.inc(tally.misrouted)
        self.count_hits(tally.hits)

    def count_hits(self, hits: Mapping[tuple[str, int], int]) -> None:
        """Score the lists that were shown just before some clicks: by bundle and rank, how many clicks there were."""
        by_bundle: dict[str, Counts[int]] = {}
        for (bundle, rank), count in hits.items():
            by_bundle.setdefault(bundle, Counts())[rank] = count
        for bundle, ranks in by_bundle.items():
            self.evaluated.labels(bundle).inc(ranks.total())
            for k, hits_at_k, reciprocal_ranks in self._at_k(bundle):
                found = [(rank, count) for rank, count in ranks.items() if 0 < rank <= k]
                if found:
                    hits_at_k.inc(sum(count for _, count in found))
                    reciprocal_ranks.inc(sum(count / rank for rank, count in found))

    def _at_k(self, bundle: str) -> list[tuple[int, Counter, Counter]]:
        """Return the counters of a bundle: looking them up costs more than counting."""
        if bundle not in self._of_bundle:
            self._of_bundle[bundle] = [
                (k, self.hits.labels(bundle, str(k)), self.reciprocal_ranks.labels(bundle, str(k)))
                for k in PREQUENTIAL_K
            ]
        return self._of_bundle[bundle]


class Tally:
    """What the metrics tell of a batch, in numbers.

    Taken when the batch was computed and counted when it is finished: to keep its records and lists so long would
    spread what is in work over tens of megabytes, which no cache holds.

    Args:
        events: how many the batch had.
        outcome: what they came to.

    """

    __slots__ = ("ahead", "dead", "events", "got_ms", "hits", "misrouted", "outcomes", "seconds", "sent_ms", "sources")

    def __init__(self, events: int, outcome: Outcome) -> None:
        self.events = events
        self.seconds = outcome.seconds
        answers, dead = outcome.answers, outcome.dead
        got_ms = np.array([record.timestamp_ms for record, _ in answers], np.int64)
        self.sent_ms = np.array([served.click.timestamp_ms for _, served in answers], np.int64)
        told = got_ms >= 0
        self.got_ms = got_ms[told]
        self.ahead = int(np.count_nonzero(told & (got_ms < self.sent_ms - CLOCKS_DIFFER_MS)))
        self.sources = Counts([served.listed.source for _, served in answers])
        self.dead = Counts(found.reason for found in dead)
        counts = (len(answers), len(dead), outcome.duplicates, outcome.replayed, outcome.superseded, outcome.too_old)
        self.outcomes = dict(zip(OUTCOMES, counts, strict=True))
        self.misrouted = outcome.misrouted
        self.hits = Counts(map(_BUNDLE_AND_RANK, outcome.hits))


def _since(at: float, times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the seconds from each time to `at`, 0 for those that lie after it."""
    return np.maximum(at - times_ms / 1000, 0.0)
