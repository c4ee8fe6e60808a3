import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from serving.bundle import Bundle, write_bundle
from serving.catalogue import Catalogue
from serving.errors import WrongUse
from tests.tiny_bundle import tiny_contents
from training.commands import compare as compare_command
from training.commands import generate as generate_command
from training.data.clean import Preparation
from training.data.cuts import whole
from training.data.dataset import describe, read_test, read_training
from training.data.log import make_log
from training.data.protocol import parse_protocol
from training.data.writers import write_log
from training.evaluation.case_ranks import CaseRanks, case_ranks, pool
from training.evaluation.cases import build_cases
from training.evaluation.compare import compare_ranks, parse_metric, rank_cases
from training.evaluation.protocols import evaluate
from training.evaluation.terms import Terms

PROTOCOL = parse_protocol("next-item:0.2")
TERMS = Terms(protocol=PROTOCOL)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "session_id": [f"s{n // 6}" for n in range(600)],
            "item_id": [f"i{n}" for n in random.integers(1, 55, 600)],
            # A silence of 40 seconds in the middle of each session of six clicks.
            "timestamp_ms": 1_600_000_000_000 + 10_000 * np.arange(600) + 30_000 * (np.arange(600) // 3),
        }
    )
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    write_log(make_log(frame), path)
    return path


def make_bundle(directory: Path, clicks: Path, seed: int, preparation: Preparation | None = None) -> Bundle:
    """A bundle of random weights that says that it learned from the training clicks."""
    preparation = preparation or Preparation()
    training = read_training(clicks, PROTOCOL, preparation)
    contents = tiny_contents(seed=seed)
    return write_bundle(
        directory, dataclasses.replace(contents, data=describe(training, PROTOCOL, preparation), seed=seed)
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, clicks: Path) -> tuple[Bundle, Bundle]:
    home = tmp_path_factory.mktemp("bundles")
    return make_bundle(home / "a", clicks, 1), make_bundle(home / "b", clicks, 2)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    compare_command.register(app)
    generate_command.register(app)
    return app


def some_ranks(*ranks: int, sessions: int = 2) -> CaseRanks:
    """Cases of sessions of two clicks, `sessions` a user."""
    count = len(ranks)
    frame = pl.DataFrame(
        {
            "session_id": np.repeat([f"s{n}" for n in range(count)], 2),
            "item_id": ["a", "b"] * count,
            "timestamp_ms": np.arange(2 * count),
            "user_id": np.repeat([f"u{n // sessions}" for n in range(count)], 2),
        }
    )
    held_out = whole(make_log(frame))
    return case_ranks(held_out, build_cases(held_out, Catalogue(["a", "b"])), np.array(ranks))


def test_a_comparison_by_hand() -> None:
    found = compare_ranks(some_ranks(1, 2, 0, 1), some_ranks(2, 2, 1, 0), "mrr@20", resamples=50)
    assert (found.found.a, found.found.b) == ((1 + 1 / 2 + 0 + 1) / 4, (1 / 2 + 1 / 2 + 1 + 0) / 4)
    assert found.found.difference.value == pytest.approx(0.5 / 4)
    assert (found.cases, found.clusters) == (4, 4)
    users = compare_ranks(some_ranks(1, 2, 0, 1), some_ranks(2, 2, 1, 0), "mrr@20", over="users", resamples=50)
    assert (users.cases, users.clusters) == (4, 2)
    # Each user's two cases differ by +1/2 and 0 both times, if drawn together; alone a session may differ by -1.
    assert users.found.difference.low >= 0
    assert found.found.difference.low < 0


def test_sessions_without_a_user_are_their_own() -> None:
    ranks = some_ranks(1, 2, 3, 0)
    without = CaseRanks(ranks.frame.with_columns(pl.lit(None, dtype=pl.String).alias("user_id")))
    assert len(set(without.clusters("users").tolist())) == 4
    assert without.clusters("users").tolist() == ranks.clusters("sessions").tolist()


def test_cycles_are_pooled_case_by_case() -> None:
    one, other = some_ranks(1, 0), some_ranks(2, 3, 1)
    together = pool([one, other])
    assert together.ranks.tolist() == [1, 0, 2, 3, 1]
    assert len(set(together.frame["case_id"])) == 5


def test_ranks_of_other_cases_are_not_compared() -> None:
    with pytest.raises(WrongUse, match=r"ranked on other cases \(2 and 3\)"):
        compare_ranks(some_ranks(1, 2), some_ranks(1, 2, 3), "mrr@20")
    shifted = CaseRanks(some_ranks(1, 2).frame.with_columns(pl.lit("c").alias("item_id")))
    with pytest.raises(WrongUse, match="ranked on other cases"):
        compare_ranks(some_ranks(1, 2), shifted, "mrr@20")


@pytest.mark.parametrize("metric", ["mrr", "mrr@0", "mrr@x", "accuracy@20", ""])
def test_other_metrics_are_a_wrong_use(metric: str) -> None:
    with pytest.raises(WrongUse, match="name one of recall, hr, ndcg, mrr, map, precision, f1 at a k, as in mrr@20"):
        parse_metric(metric)


def test_a_bundle_is_ranked_as_its_report_says(bundles: tuple[Bundle, Bundle], clicks: Path) -> None:
    ranked = rank_cases(bundles[0], clicks, TERMS)
    assert ranked.frame.equals(evaluate(bundles[0], clicks, TERMS).ranks.frame)


def test_a_bundle_that_started_from_one_of_other_clicks_is_refused(
    bundles: tuple[Bundle, Bundle], clicks: Path
) -> None:
    bundle = bundles[0]
    started = {"started_from": {"bundle": "0123", "clicks": [bundle.manifest.data["fingerprint"], "of the test too"]}}
    manifest = msgspec.structs.replace(bundle.manifest, metrics={**bundle.manifest.metrics, **started})
    warm = dataclasses.replace(bundle, manifest=manifest)
    with pytest.raises(WrongUse, match="started from bundle 0123, which had learned from other clicks"):
        rank_cases(warm, clicks, TERMS)
    assert not evaluate(warm, clicks, TERMS).same_training
    assert evaluate(bundle, clicks, TERMS).same_training


def test_a_bundle_of_other_clicks_is_refused(bundles: tuple[Bundle, Bundle], clicks: Path) -> None:
    # Trained on less than the other protocol leaves, but what was held out there is not what is held out here.
    other = Terms(protocol=parse_protocol("next-item:0.3"))
    with pytest.raises(WrongUse, match=r"was trained on other clicks \(next-item:0.2, \d+ clicks\) than next-item:0.3"):
        rank_cases(bundles[0], clicks, other)


def test_bundles_whose_sessions_were_cut_differently_are_not_compared(
    tmp_path: Path, bundles: tuple[Bundle, Bundle], clicks: Path
) -> None:
    short = make_bundle(tmp_path / "short", clicks, 1, Preparation(session_gap_s=20))
    with pytest.raises(WrongUse, match=r"ranked on other cases \(100 and 80\): sessions cut at other gaps"):
        compare_ranks(rank_cases(bundles[0], clicks, TERMS), rank_cases(short, clicks, TERMS), "mrr@20")


def test_the_command_prints_the_difference_and_writes_it(
    app: typer.Typer, bundles: tuple[Bundle, Bundle], clicks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "comparison.json"
    a, b = (str(bundle.directory) for bundle in bundles)
    arguments = ["compare", a, b, "--data", str(clicks), "--metric", "recall@10", "--json", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(out.read_text())
    reports = [evaluate(bundle, clicks, Terms(protocol=PROTOCOL, ks=(10,))) for bundle in bundles]
    assert [found["a"]["value"], found["b"]["value"]] == [report.rows[0].figures["recall@10"] for report in reports]
    difference = found["difference"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert f"difference {difference['value']:+.4f}, 95 % between" in result.output.replace("\n", " ")
    assert (found["protocol"], found["exclude"]) == ("next-item:0.2", "current")
    assert found["cases"] == read_test(clicks, PROTOCOL).cases
    assert found["bootstrap"] == {"over": "sessions", "resamples": 1000, "seed": 0}
    assert found["clusters"] == 20


def test_a_bundle_against_itself_differs_in_nothing(
    app: typer.Typer, bundles: tuple[Bundle, Bundle], clicks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "comparison.json"
    a = str(bundles[0].directory)
    arguments = ["compare", a, a, "--data", str(clicks), "--json", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["share_above_0"] == 0
