import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from stream.histogram import FastHistogram

BUCKETS = (0.0005, 0.001, 1.0, 300.0)


@given(values=st.lists(st.sampled_from(BUCKETS) | st.floats(0, 1000)))
def test_a_scrape_sees_what_prometheus_own_histogram_would_show(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = FastHistogram("latency_seconds", "How long.", BUCKETS, ours)
    stock = Histogram("latency_seconds", "How long.", registry=theirs, buckets=BUCKETS)
    half = len(values) // 2
    for value in values[:half]:
        fast.observe(value)
    fast.observe_all(np.array(values[half:], np.float64))
    for value in values:
        stock.observe(value)
    shown = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert _rounded(generate_latest(ours).splitlines()) == _rounded(shown)


def _rounded(lines: list[bytes]) -> list[bytes]:
    # The two add up in another order.
    return [b"sum %.6g" % float(line.split()[-1]) if b"_sum" in line else line for line in lines]
