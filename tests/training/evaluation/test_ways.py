"""Bundles that are no plain encoders: which way their figures go, from the command line too."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deploy.cli import build_app, run
from serving.bundle import Bundle, BundleContents, write_bundle
from serving.errors import WrongUse
from tests.tiny_bundle import tiny_blend_contents, tiny_contents
from training.data.clean import Preparation
from training.data.dataset import describe, read_training
from training.data.log import make_log
from training.data.protocol import parse_protocol
from training.data.writers import write_log
from training.evaluation.compare import rank_cases
from training.evaluation.protocols import evaluate
from training.evaluation.terms import Terms, Through

PROTOCOL = parse_protocol("next-item:0.2")
MADE: dict[str, BundleContents] = {
    "gru": tiny_contents(),
    "gru+item-rules+popularity": tiny_blend_contents(),
    "item-rules+popularity": tiny_blend_contents(encoder=False),
    "attention": tiny_contents(form="window", event_types=["view", "buy"], silences=True, time_of="query"),
    "attention+item-rules+popularity": tiny_blend_contents(tiny_contents(form="window", time_of="query")),
}
BLEND, COUNTERS, QUERY = "gru+item-rules+popularity", "item-rules+popularity", "attention"


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of six clicks that mostly go on to the next items, as the tiny rules say."""
    random = np.random.default_rng(0)
    starts, steps = random.integers(1, 40, 100), random.choice([1, 2, 3, 9], (100, 6))
    frame = pl.DataFrame(
        {
            "session_id": np.repeat([f"s{n}" for n in range(100)], 6),
            "item_id": [f"i{n}" for n in ((starts[:, None] + np.cumsum(steps, axis=1)) % 54 + 1).ravel()],
            "timestamp_ms": 1_600_000_000_000 + 10_000 * np.arange(600),
        }
    )
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    write_log(make_log(frame), path)
    return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, clicks: Path) -> dict[str, Bundle]:
    """Bundles by their model; each says that it learned from the training clicks."""
    home, made = tmp_path_factory.mktemp("bundles"), {}
    data = describe(read_training(clicks, PROTOCOL), PROTOCOL, Preparation())
    for model, contents in MADE.items():
        made[model] = write_bundle(home / model, dataclasses.replace(contents, data=data))
        assert made[model].manifest.model == model
    return made


@pytest.mark.parametrize(
    ("model", "way"),
    [("gru", "served"), (BLEND, "served"), (COUNTERS, "served"), (QUERY, "dense")],
)
def test_what_a_worker_can_serve_is_looked_at_as_it_is_served(
    bundles: dict[str, Bundle], clicks: Path, model: str, way: str
) -> None:
    report = evaluate(bundles[model], clicks, Terms(protocol=PROTOCOL, ks=(10,)))
    own, *others = report.rows
    assert (own.model, own.path) == (model, way)
    assert {row.path for row in others} == {"dense"}
    assert 0 < own.figures["recall@10"] < 1
    assert report.same_training
    # The diversity of all models' lists is measured by the bundle's item vectors, where it has any.
    assert [("diversity@10" in row.figures) for row in report.rows] == [model != COUNTERS] * len(report.rows)


@pytest.mark.parametrize(
    ("model", "through", "message"),
    [
        (QUERY, "served", r"needs query_time, so it gives no lists to be looked at: evaluate it with --through dense"),
        (BLEND, "dense", r"has counters, which no dense scores show: evaluate it with --through served"),
        (COUNTERS, "dense", r"has counters, which no dense scores show: evaluate it with --through served"),
    ],
)
def test_a_way_that_does_not_lead_to_a_bundles_lists_is_refused(
    bundles: dict[str, Bundle],
    clicks: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    through: Through,
    message: str,
) -> None:
    terms = Terms(protocol=PROTOCOL, through=through)
    for ask in (evaluate, rank_cases):
        with pytest.raises(WrongUse, match=f"bundle {bundles[model].id} {message}"):
            ask(bundles[model], clicks, terms)
    command = ["evaluate", str(bundles[model].directory), "--data", str(clicks), "--through", through]
    assert run(build_app(), command) == 2
    assert f"--through {'served' if through == 'dense' else 'dense'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "through", "instead"),
    [("gru", "auto", ", or --through dense"), ("gru", "served", ", or --through dense"), (BLEND, "auto", "")],
)
def test_lists_longer_than_a_workers_are_refused(
    bundles: dict[str, Bundle], clicks: Path, model: str, through: Through, instead: str
) -> None:
    terms = Terms(protocol=PROTOCOL, ks=(20, 500), through=through)
    message = f"k is 500, but a worker's list holds 200 items at most: take a smaller k{instead}$"
    for ask in (evaluate, rank_cases):
        with pytest.raises(WrongUse, match=message):
            ask(bundles[model], clicks, terms)


@pytest.mark.parametrize(("model", "through"), [("gru", "dense"), (QUERY, "auto"), (QUERY, "dense")])
def test_dense_scores_have_no_longest_list(
    bundles: dict[str, Bundle], clicks: Path, model: str, through: Through
) -> None:
    report = evaluate(bundles[model], clicks, Terms(protocol=PROTOCOL, ks=(20, 500), through=through))
    own = report.rows[0]
    assert own.path == "dense"
    # The catalogue is shorter than that, so each click on one of its items is found.
    known = 1 - report.unknown_targets / report.cases
    assert own.figures["recall@20"] < own.figures["recall@500"] == pytest.approx(known)


@pytest.mark.parametrize("through", ["auto", "served", "dense"])
def test_a_blend_that_needs_the_querys_time_has_no_figures_and_says_so(
    bundles: dict[str, Bundle], clicks: Path, through: Through
) -> None:
    bundle = bundles["attention+item-rules+popularity"]
    with pytest.raises(WrongUse, match=f"bundle {bundle.id} needs query_time.* and has counters"):
        evaluate(bundle, clicks, Terms(protocol=PROTOCOL, through=through))


@pytest.mark.parametrize("model", [BLEND, COUNTERS, QUERY])
def test_the_command_prints_every_kind_of_bundle_and_writes_its_ranks(
    bundles: dict[str, Bundle], clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    out, table = tmp_path / "report.json", tmp_path / "ranks.parquet"
    command = ["evaluate", str(bundles[model].directory), "--data", str(clicks), "--ranks", str(table)]
    assert run(build_app(), [*command, "--json", str(out)]) == 0
    report, ranks = json.loads(out.read_text()), pl.read_parquet(table)["rank"]
    assert len(ranks) == report["cases"]
    assert ranks.is_between(1, 20).mean() == pytest.approx(report["rows"][0]["hr@20"])
    assert report["rows"][0]["model"] == model
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)
    # The two tables, in which a long name goes on in a second line.
    assert sum(line.startswith(f"{model.split('+')[0]} ") for line in lines) >= 2
    assert set(model.split("+")) <= set(" ".join(line[:26] for line in lines).split())


def test_a_blend_is_compared_with_its_counters_alone(
    bundles: dict[str, Bundle], clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "comparison.json"
    blend, counters = bundles[BLEND], bundles[COUNTERS]
    command = ["compare", str(blend.directory), str(counters.directory), "--data", str(clicks)]
    assert run(build_app(), [*command, "--metric", "ndcg@10", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    reports = [evaluate(bundle, clicks, Terms(protocol=PROTOCOL, ks=(10,))) for bundle in (blend, counters)]
    assert [found["a"]["value"], found["b"]["value"]] == [report.rows[0].figures["ndcg@10"] for report in reports]
    # The tiny encoder knows nothing, the tiny rules do.
    assert found["difference"]["high"] < 0
    assert "95 % between" in capsys.readouterr().out
