import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from serving.bundle import Bundle, write_bundle
from tests.tiny_bundle import tiny_contents
from training.commands import evaluate as evaluate_command
from training.commands import generate as generate_command
from training.data.clean import Preparation
from training.data.dataset import describe, read_test, read_training
from training.data.log import make_log
from training.data.splits import Protocol, parse_protocol
from training.data.writers import write_log
from training.evaluation.protocols import evaluate
from training.evaluation.terms import Terms

PROTOCOL = parse_protocol("next-item:0.2")
PREPARATION = Preparation(session_gap_s=600)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "session_id": [f"s{n // 6}" for n in range(600)],
            "item_id": [f"i{n}" for n in random.integers(1, 55, 600)],
            "timestamp_ms": 1_600_000_000_000 + 10_000 * np.arange(600),
        }
    )
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    write_log(make_log(frame), path)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, clicks: Path) -> Bundle:
    training = read_training(clicks, PROTOCOL, PREPARATION)
    contents = dataclasses.replace(tiny_contents(), data=describe(training, PROTOCOL, PREPARATION), seed=7)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", contents)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    evaluate_command.register(app)
    generate_command.register(app)
    return app


def test_a_report_carries_everything_that_its_figures_depend_on(bundle: Bundle, clicks: Path) -> None:
    report = evaluate(bundle, clicks, Terms(protocol=PROTOCOL, ks=(5,)), command="nextclick evaluate ...")
    held_out = read_test(clicks, PROTOCOL, PREPARATION)
    assert report.same_training
    assert report.preparation == PREPARATION
    assert (report.cases, report.clicks, report.seed) == (held_out.cases, len(held_out.log), 7)
    assert report.unknown_targets > 0
    assert [row.model for row in report.rows] == [
        "gru",
        "popularity",
        "recent popularity",
        "last-item Markov",
        "sequential rules",
    ]
    assert [row.path for row in report.rows] == ["served", "dense", "dense", "dense", "dense"]


def test_unknown_items_can_be_dropped(bundle: Bundle, clicks: Path) -> None:
    kept = evaluate(bundle, clicks, Terms(protocol=PROTOCOL))
    dropped = evaluate(bundle, clicks, Terms(protocol=PROTOCOL, unknown="drop"))
    assert dropped.unknown_targets == 0
    assert dropped.clicks < kept.clicks


def test_leave_one_out_is_scored_densely_unless_asked_otherwise(bundle: Bundle, clicks: Path) -> None:
    protocol = Protocol("leave-one-out")
    dense = evaluate(bundle, clicks, Terms(protocol=protocol, ks=(10,)))
    served = evaluate(bundle, clicks, Terms(protocol=protocol, ks=(10,), through="served"))
    assert (dense.rows[0].path, served.rows[0].path) == ("dense", "served")
    assert dense.rows[0].figures == pytest.approx(served.rows[0].figures)
    assert dense.cases == dense.sessions


def test_a_bundle_of_other_clicks_is_told_apart(bundle: Bundle, clicks: Path) -> None:
    assert not evaluate(bundle, clicks, Terms(protocol=parse_protocol("next-item:0.3"))).same_training


def test_the_command_takes_protocol_and_gap_from_the_bundle_and_writes_json(
    app: typer.Typer, bundle: Bundle, clicks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks), "--k", "5", "--json", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "next-item:0.2 @5: full catalogue, excluded: current, unknown items: misses" in result.output
    assert "sequential rules" in result.output
    assert "Note:" not in result.output
    report = json.loads(out.read_text())
    assert report["preparation"]["session_gap_s"] == 600
    assert report["protocol"] == "next-item:0.2"
    assert {"recall@5", "hr@5", "ndcg@5", "mrr@5", "precision@5", "f1@5", "coverage@5"} < report["rows"][0].keys()
    assert all(row["cases"] == report["cases"] and row["exclude"] == "current" for row in report["rows"])


def test_the_command_warns_where_the_bundle_saw_other_clicks(app: typer.Typer, bundle: Bundle, clicks: Path) -> None:
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks), "--protocol", "leave-one-out"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "Note: the bundle was trained on other clicks" in result.output


def test_the_table_fits_a_terminal_of_80_columns(app: typer.Typer, bundle: Bundle, clicks: Path) -> None:
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks)]
    lines = CliRunner().invoke(app, arguments, catch_exceptions=False).output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)
    assert [line.split()[0] for line in lines[2:7]] == ["gru", "popularity", "recent", "last-item", "sequential"]


def test_generate_says_what_it_wrote(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "shop.jsonl"
    arguments = ["generate", "--sessions", "20", "--items", "100", "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert out.is_file()
    assert (tmp_path / "shop.titles.csv").is_file()
    assert "in 20 sessions" in result.output
