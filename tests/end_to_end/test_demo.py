"""The demo, headless, as a program: counted from the topics that it leaves behind, not from what it says of itself."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.bundle import Bundle, load_bundle
from serving.ranks import hit_rate
from training.data.cuts import whole
from training.data.readers import read_log
from training.evaluation.cases import build_cases
from training.evaluation.served import evaluate_served

EVENTS = 1_000


def run_demo(folder: Path, *options: str) -> tuple[dict[str, Any], Path]:
    """Run `nextclick demo --headless` and return its report and what it kept."""
    report, kept = folder / "report.json", folder / "kept"
    command = [sys.executable, "-m", "deploy", "demo", "--headless", "--events", str(EVENTS), "--rate", "500"]
    command += ["--report", str(report), "--keep", str(kept), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(report.read_text()), kept


def values(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def check_lists(report: dict[str, Any], kept: Path) -> Bundle:
    """Check for one list for each click, whatever the data, and return the bundle that made them."""
    clicks, lists = values(kept / "clicks.jsonl"), values(kept / "recommendations.jsonl")
    assert Counter(click["event_id"] for click in clicks).most_common(1)[0][1] == 1
    ids_of = defaultdict(set)
    for shown in lists:
        ids_of[shown["trigger_event_id"]].add(shown["recommendation_id"])
    assert set(ids_of) == {click["event_id"] for click in clicks}
    assert {len(ids) for ids in ids_of.values()} == {1}
    bundle = load_bundle(kept / "bundle")
    assert {shown["bundle"] for shown in lists} == {bundle.id} == {report["bundle"]}
    assert report["clicks_replayed"] == report["recommendations_expected"] == len(clicks)
    assert report["distinct_recommendation_ids"] == len(ids_of)
    assert (report["missing"], report["dead_letters"]) == (0, 0)
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["p99"]
    return bundle


def check(report: dict[str, Any], kept: Path) -> None:
    """Check for one list for each click and the evaluator's hit rate; of counters, that counts ties otherwise."""
    bundle = check_lists(report, kept)
    spec = bundle.manifest.encoder
    cases = build_cases(whole(read_log(kept / "clicks.jsonl")), bundle.catalogue, spec.event_types if spec else ())
    evaluated = evaluate_served(bundle, cases, exclude="current", k=20)
    assert report["hit_rate_at_20"] == pytest.approx(hit_rate(np.asarray(evaluated.ranks), 20), abs=1e-12)
    assert report["hit_rate_cases"] == len(evaluated.ranks)


@pytest.mark.end_to_end
def test_every_click_gets_one_list_and_the_hit_rate_is_the_evaluators(shop: Path, broker: str, tmp_path: Path) -> None:
    report, kept = run_demo(tmp_path, "--data", str(shop), "--training-seconds", "20", "--bootstrap-servers", broker)
    check(report, kept)
    # Twenty seconds are too few to pass sequential rules (`make acceptance` gives it the time), but not to learn.
    assert report["hit_rate_at_20"] > report["popular_hit_rate_at_20"]


@pytest.mark.end_to_end
def test_a_demo_of_counters_on_its_own_broker_leaves_nothing_behind(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    report, kept = run_demo(tmp_path, "--data", str(shop), "--recipe", "vmis_knn")
    check_lists(report, kept)
    assert list(folder.iterdir()) == []
    assert processes_in(folder) == []


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that name this folder: brokers, workers and guards all do."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found
