"""What the benchmarks compute by themselves: clicks, sizes, medians, the page. What they measure is not tested."""

import itertools
import json
import os
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from serving.events import decode_click, decode_recommendation, encode_click
from serving.index import Index
from serving.session import SessionState, decode_state, last_lines
from serving.settings import ServingSettings
from tests.benchmarks import latency, page, pipeline, recovery, training, workload
from tests.benchmarks.grown import exact_top, grow, index_recall
from tests.benchmarks.processes import as_settings, cpu_s, finish
from tests.benchmarks.results import machine
from tests.benchmarks.systems.blobs import COUNT, Blobs
from tests.benchmarks.systems.job import Job
from training.data.dataset import read_training
from training.data.protocol import parse_protocol
from training.data.readers import read_log


def test_the_same_clicks_every_time() -> None:
    assert list(workload.clicks(50)) == list(workload.clicks(50))
    keys = Counter(key for key, _ in workload.clicks(1_000))
    assert all(decode_click(value).session_id.encode() == key for key, value in workload.clicks(50))
    assert len(keys) > 900  # of ten thousand sessions


def test_interleaved_sessions_keep_their_order_and_their_number() -> None:
    sessions = [["a", "b", "c"], ["d"], ["e", "f"]]
    clicks = list(itertools.islice(workload.interleave(sessions, live=2), 12))
    by_session: dict[str, list[str]] = {}
    for session_id, item_id in clicks:
        by_session.setdefault(session_id, []).append(item_id)
    whole = [items for items in by_session.values() if items in sessions]
    assert len(whole) >= len(by_session) - 2  # the last two are still under way
    assert len({session_id for session_id, _ in clicks[:2]}) == 2


@pytest.mark.parametrize("length", [1, 2, 7])
def test_cut_sessions_all_have_the_length_and_together_the_clicks(length: int) -> None:
    sessions = [["a", "b", "c"], ["d"], ["e", "f", "g"]]
    pieces = pipeline.cut(sessions, length)
    assert {len(piece) for piece in pieces} == {length}
    assert "".join(itertools.chain.from_iterable(pieces)) == "abcdefg"[: 7 // length * length]


def test_a_blob_counts_the_session_and_names_the_click() -> None:
    blobs = workload.blobs(count=3)
    value = next(workload.clicks(1))[1]
    state, answer = blobs.handle(value, None)
    state, answer = blobs.handle(value, state)
    assert COUNT.unpack_from(state) == (2,)
    assert len(state) == workload.STATE_BYTES
    read = msgspec.json.decode(answer)
    assert read["trigger_event_id"] == decode_click(value).event_id
    assert len(read["items"]) == 20


def test_the_job_of_other_frameworks_leads_to_the_same_states_and_lists(tmp_path: Any) -> None:
    job = workload.job(count=3)
    job.write(tmp_path / "job")
    job = Job.read(str(tmp_path / "job"))
    clicks = [value for key, value in workload.clicks(40_000) if key == b"session-000007"]
    assert len(clicks) > 1
    stored, expected, settings = None, SessionState(), ServingSettings()
    for value in clicks:
        stored, answer = job.handle(value, stored)
        click, read = decode_click(value), decode_recommendation(answer)
        expected.fold(click, click.timestamp_ms, settings.session_length, settings.session_gap_s * 1e3)
        assert (read.trigger_event_id, read.session_id, len(read.items)) == (click.event_id, click.session_id, 20)
        assert last_lines(decode_state(stored).last_list, 20) == [item.item_id for item in read.items]
    assert decode_state(stored or b"").interactions == expected.interactions


def test_blobs_survive_their_file(tmp_path: Any) -> None:
    blobs = workload.blobs(count=2)
    blobs.write(tmp_path / "blobs")
    assert Blobs.read(str(tmp_path / "blobs")) == blobs


def vectors(items: int) -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((items + 1, 8)).astype(np.float32)
    found[0] = 0
    found[1:] /= np.linalg.norm(found[1:], axis=1, keepdims=True)
    return found


def test_a_grown_catalogue_begins_with_the_old_one_and_stays_near_it() -> None:
    old = vectors(200)
    grown = grow(old, 1_000)
    assert grown.shape == (1_001, 8)
    assert (grown[:201] == old).all()
    assert np.allclose(np.linalg.norm(grown[1:], axis=1), 1, atol=1e-5)
    assert np.median((grown[201:] @ old[1:].T).max(axis=1)) > np.median(np.sort(old[1:] @ old[1:].T)[:, -2])
    assert (grow(old, 50) == old[:51]).all()


def test_index_recall_is_one_for_an_exact_index_and_less_for_one_that_hardly_looks() -> None:
    items, queries = vectors(2_000), vectors(100)[1:]
    assert index_recall(Index.build(items, "Flat"), items, queries) == 1.0
    assert index_recall(Index.build(items, "IVF64,Flat nprobe=1"), items, queries) < 0.9
    assert exact_top(items, queries).min() >= 1


@pytest.mark.parametrize("size", [400, 1_500, 4_000])
def test_a_state_for_recovery_has_the_size_that_was_asked_for(size: int) -> None:
    for key, state in recovery.states(20, size):
        assert key.startswith(b"session-")
        assert size <= len(state) < size + 120


def run(system: str, rate: float, p50_ms: float) -> dict[str, Any]:
    return {"system": system, "rate": rate, "p50_ms": p50_ms, "p90_ms": 2.0, "p99_ms": 3.0, "p999_ms": 4.0}


def test_latencies_are_medians_of_each_rate_and_system() -> None:
    rows = latency.summary([run("echo", 100, value) for value in (1.0, 9.0, 2.0)] + [run("nextclick", 100, 3.0)])
    assert [(row["system"], row["p50_ms"]) for row in rows] == [("echo", 2.0), ("nextclick", 3.0)]


@pytest.mark.parametrize(("system", "rate", "p50_ms", "void"), [
    ("echo", 1_000, 1.6, True), ("echo", 1_000, 1.5, False), ("echo", 500, 9.0, False), ("nextclick", 1_000, 9.0, False)
])  # fmt: skip
def test_a_run_whose_echo_is_slow_is_void(system: str, rate: float, p50_ms: float, void: bool) -> None:
    assert latency.is_void(latency.summary([run(system, rate, p50_ms)])) is void


def test_stages_are_the_means_of_what_came_between_two_looks() -> None:
    before = {"nextclick_serving_search_seconds_sum": 1.0, "nextclick_serving_search_seconds_count": 10.0}
    after = {"nextclick_serving_search_seconds_sum": 1.5, "nextclick_serving_search_seconds_count": 110.0}
    assert latency.stage_means(before, after) == {"serving_search_seconds": 5.0}


def test_clicks_are_counted_however_they_ended() -> None:
    ended = {
        'nextclick_stream_events_total{outcome="served"}': 7.0,
        'nextclick_stream_events_total{outcome="dead"}': 2.0,
    }
    assert latency.counted({**ended, "nextclick_stream_events_created": 1.8e9}) == 9.0


def test_a_part_that_was_not_measured_again_keeps_its_text_on_the_page() -> None:
    text = page.HEAD + "\n<!-- framework -->\n## The stream\n\none\n\n<!-- memory -->\n## Memory\n"
    assert page.sections(text) == {"framework": "## The stream\n\none\n\n", "memory": "## Memory\n"}


def test_a_part_without_a_run_that_counts_keeps_its_text_or_says_that_it_was_not_measured() -> None:
    text = page.page_of(dict.fromkeys(page.TITLES), {"framework": "## The stream\n\none\n"})
    assert list(page.sections(text)) == list(page.TITLES) == list(page.WRITERS)
    assert page.sections(text)["framework"].strip() == "## The stream\n\none"
    assert page.sections(text)["memory"] == ("## Memory\n\nNot measured yet on a quiet machine: `make bench-memory`.\n")


@pytest.mark.parametrize(("part", "figures", "details", "counts"), [
    ("framework", {"cpu_us_per_event": dict.fromkeys([*page.REQUIRED, "aiokafka"], 1.0)}, {}, True),
    ("framework", {"cpu_us_per_event": dict.fromkeys(page.REQUIRED[:-1], 1.0)}, {}, False),
    ("latency", [], {"void": False}, True),
    ("latency", [], {"void": True}, False),
])  # fmt: skip
def test_a_run_that_is_void_or_lacks_a_system_does_not_count(
    tmp_path: Path, part: str, figures: Any, details: Any, counts: bool
) -> None:
    assert page.part_of(part, tmp_path) is None
    (tmp_path / f"{part}.json").write_text(json.dumps(figures))
    (tmp_path / f"{part}.details.json").write_text(json.dumps(details))
    assert page.part_of(part, tmp_path) == (page.Part(figures, details) if counts else None)


def test_the_page_shows_encoders_at_their_largest_batch() -> None:
    def row(batch: int, read: str, cost: float) -> dict[str, Any]:
        costs = {"5": cost, "200": 10 * cost}
        return {"kind": "gru", "dim": 64, "window": 50, "batch": batch, "read": read, "us_by_length": costs}

    figures = [row(64, "full", 9.0), row(256, "full", 2.0), row(256, "carried", 1.0)]
    details = {"machine": machine(broker=False) | {"load_average_after": 0.0}, "options": {"repeats": 5}}
    text = page.encoders(page.Part(figures, details))
    assert [line for line in text.splitlines() if line.startswith("| gru")] == [
        "| gru | 64 | 50 | the window | 2.0 | 20.0 |",
        "| gru | 64 | 50 | the last click | 1.0 | 10.0 |",
    ]
    assert "5 events | 200 events |" in text
    assert "256 sessions at a time" in text
    assert "Kafka" not in text


def test_random_clicks_have_every_item(tmp_path: Path) -> None:
    clicks = training._write_random(tmp_path / "log.parquet", 1_000)
    log = read_log(tmp_path / "log.parquet")
    assert (len(log), log.items, log.sessions) == (clicks, 1_000, 500)
    assert read_training(tmp_path / "log.parquet", parse_protocol("next-item")).clicks.items == 1_000


def test_a_process_tells_its_memory_and_its_failure() -> None:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ended = finish(["-c", f"held = b'x' * int({own + 0.4} * 2**30); print(len(held))"])
    assert int(ended.output) / 2**30 < ended.peak_gb < int(ended.output) / 2**30 + 0.1
    with pytest.raises(SystemExit, match="status 3"):
        finish(["-c", "raise SystemExit(3)"])


def test_settings_from_dotted_keys() -> None:
    settings = as_settings({"worker.app_id": "shop", "topics.clicks": "c"})
    assert (settings.worker.app_id, settings.topics.clicks) == ("shop", "c")


def test_cpu_is_counted() -> None:
    before = cpu_s(os.getpid())
    while cpu_s(os.getpid()) == before:
        encode_click(decode_click(next(workload.clicks(1))[1]))
    assert 0 < cpu_s(os.getpid()) - before < 1
