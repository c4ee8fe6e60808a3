import re

from msgspec import Raw
from prometheus_client import CollectorRegistry, generate_latest

from serving.events import Click, ListedRecommendation
from serving.process import Served
from stream.contract.incoming import Incoming
from stream.metrics import Metrics, Tally
from stream.pipeline.compute import Outcome

UNITS = ("_seconds", "_bytes", "_events", "_entries", "_total", "_info")


def test_every_name_has_the_prefix_and_ends_in_its_unit() -> None:
    exposed = generate_latest(Metrics().registry).decode()
    names = set(re.findall(r"^# TYPE (\S+)", exposed, re.MULTILINE))
    ours = {name for name in names if not name.startswith(("process_", "python_")) and not name.endswith("_created")}
    assert all(name.startswith(("nextclick_stream_", "nextclick_serving_")) for name in ours), ours
    assert all(name.endswith(UNITS) for name in ours), ours


def test_two_registries_count_apart() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.misrouted.inc()
    assert one.registry.get_sample_value("nextclick_stream_misrouted_keys_total") == 1
    assert other.registry.get_sample_value("nextclick_stream_misrouted_keys_total") == 0


LISTED = ListedRecommendation("r", "s", "e", "b", "0", 0, "encoder", Raw(b"[]"))


def test_clicks_whose_clock_is_ahead_of_the_brokers_are_counted() -> None:
    metrics, outcome = Metrics(), Outcome()
    for broker_ms, click_ms in [(1_000, 6_000), (1_000, 6_001), (1_000, 10**15), (9_000, -5), (-1, 10**15)]:
        record = Incoming(0, 0, broker_ms, b"s", b"", ())
        outcome.answers.append((record, Served(0, Click("e", "s", "i", click_ms), LISTED)))
    metrics.count_batch(Tally(5, outcome), 1.0)
    assert metrics.registry.get_sample_value("nextclick_stream_clock_ahead_clicks_total") == 2


def test_prequential_counts_give_hit_rate_and_mrr() -> None:
    metrics = Metrics()
    metrics.count_hits({("b", 1): 1, ("b", 4): 1, ("b", 15): 1, ("b", 0): 1})

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(
            f"nextclick_stream_prequential_{name}_total", {"bundle": "b", **labels}
        )

    assert value("evaluated") == 4
    assert [value("hits", k=k) for k in ("1", "5", "10", "20")] == [1, 2, 2, 3]
    assert value("reciprocal_rank", k="10") == 1 / 1 + 1 / 4
    assert value("reciprocal_rank", k="20") == 1 / 1 + 1 / 4 + 1 / 15
