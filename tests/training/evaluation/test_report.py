import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from serving.bundle import Bundle, write_bundle
from serving.errors import WrongUse
from serving.ranks import METRICS
from tests.tiny_bundle import tiny_contents
from training.commands import evaluate as evaluate_command
from training.commands import generate as generate_command
from training.data.clean import Preparation
from training.data.dataset import describe, read_test, read_training
from training.data.log import make_log
from training.data.protocol import Conventions, Protocol, parse_protocol
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
    assert len(report.ranks) == report.cases
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


def test_an_encoders_lists_are_looked_at_unless_dense_scores_are_asked_for(bundle: Bundle, clicks: Path) -> None:
    protocol = Protocol("leave-one-out")
    dense = evaluate(bundle, clicks, Terms(protocol=protocol, ks=(10,), through="dense"))
    served = evaluate(bundle, clicks, Terms(protocol=protocol, ks=(10,)))
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
    assert "95 % intervals over sessions" in result.output
    for row in report["rows"]:
        terms = ("protocol", "exclude", "unknown_items", "min_session_length", "k", "cases", "sessions", "seeds")
        assert {name: row[name] for name in terms} == {
            "protocol": "next-item:0.2",
            "exclude": "current",
            "unknown_items": "miss",
            "min_session_length": 1,
            "k": [5],
            "cases": report["cases"],
            "sessions": report["sessions"],
            "seeds": [7],
        }
        assert row["trained_on_fingerprint"] == report["trained_on"]["fingerprint"]
        assert row["command"] == report["command"] != ""
        assert {f"{name}@5" for name in (*METRICS, "coverage", "gini", "novelty", "diversity")} <= row.keys()
        for name, (low, high) in row["intervals_95"].items():
            assert low <= row[name] <= high
        *deciles, cold = row["groups"]
        assert cold["group"] == "cold"
        known = sum(group["cases"] for group in deciles)
        assert known + report["unknown_targets"] == report["cases"]
        mean = sum(group["cases"] * group["mrr@5"] for group in deciles) / report["cases"]
        assert mean == pytest.approx(row["mrr@5"])


def test_several_k_are_cut_from_the_same_ranks_and_lists(bundle: Bundle, clicks: Path) -> None:
    several = evaluate(bundle, clicks, Terms(protocol=PROTOCOL, ks=(1, 10, 5)))
    for row in several.rows:
        assert row.figures["hr@1"] <= row.figures["hr@5"] <= row.figures["hr@10"]
        assert row.figures["coverage@1"] < row.figures["coverage@10"]
    alone = evaluate(bundle, clicks, Terms(protocol=PROTOCOL, ks=(5,)))
    for one, many in zip(alone.rows, several.rows, strict=True):
        assert one.figures == pytest.approx({name: many.figures[name] for name in one.figures})


def test_terms_are_the_protocols_own_unless_said_otherwise() -> None:
    assert Terms(protocol=Protocol("last-week")).describe() == {
        "protocol": "last-week",
        "exclude": "none",
        "unknown_items": "drop",
        "min_session_length": 2,
        "k": [20],
    }
    other = Terms(protocol=Protocol("last-week"), exclude="seen", unknown="miss", min_session_length=1)
    assert other.counted == Conventions(exclude="seen", unknown="miss", min_session_length=1)
    assert Terms(protocol=PROTOCOL, unknown="drop").counted.min_session_length == 2


def test_lists_have_an_item_at_least() -> None:
    with pytest.raises(WrongUse, match="k must be at least 1, not 0"):
        Terms(protocol=PROTOCOL, ks=(0,))


def test_a_bundle_that_was_refitted_is_held_against_the_same_clicks(
    tmp_path: Path, bundle: Bundle, clicks: Path
) -> None:
    training = read_training(clicks, PROTOCOL, PREPARATION, refit=True)
    contents = dataclasses.replace(tiny_contents(), data=describe(training, PROTOCOL, PREPARATION))
    refitted = write_bundle(tmp_path / "refitted", contents)
    report = evaluate(refitted, clicks, Terms(protocol=PROTOCOL))
    assert report.same_training
    assert report.refit
    assert report.trained_on["rows"] > evaluate(bundle, clicks, Terms(protocol=PROTOCOL)).trained_on["rows"]


def test_the_command_writes_the_rank_of_each_case(
    app: typer.Typer, bundle: Bundle, clicks: Path, tmp_path: Path
) -> None:
    out, table = tmp_path / "report.json", tmp_path / "ranks.parquet"
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks), "--ranks", str(table), "--json", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    ranks, report = pl.read_parquet(table), json.loads(out.read_text())
    assert ranks.columns == ["case_id", "session_id", "user_id", "position", "item_id", "rank"]
    assert len(ranks) == report["cases"]
    assert ranks["rank"].is_between(1, 20).mean() == pytest.approx(report["rows"][0]["hr@20"])
    held_out = read_test(clicks, PROTOCOL, PREPARATION)
    events = {click.event_id: click for click in held_out.log.clicks()}
    for case_id, session_id, _, position, item_id, _ in ranks.iter_rows():
        assert (events[case_id].session_id, events[case_id].item_id) == (session_id, item_id)
        earlier = [click for click in events.values() if click.session_id == session_id]
        assert earlier[position].event_id == case_id


def test_the_command_warns_where_the_bundle_saw_other_clicks(app: typer.Typer, bundle: Bundle, clicks: Path) -> None:
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks), "--protocol", "leave-one-out"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "Note: the bundle was trained on other clicks" in result.output


def test_the_table_fits_a_terminal_of_80_columns(app: typer.Typer, bundle: Bundle, clicks: Path) -> None:
    arguments = ["evaluate", str(bundle.directory), "--data", str(clicks)]
    lines = CliRunner().invoke(app, arguments, catch_exceptions=False).output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)
    for first in (2, 9):
        models = [line.split()[0] for line in lines[first : first + 5]]
        assert models == ["gru", "popularity", "recent", "last-item", "sequential"]


def test_generate_says_what_it_wrote(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "shop.jsonl"
    arguments = ["generate", "--sessions", "20", "--items", "100", "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert out.is_file()
    assert (tmp_path / "shop.titles.csv").is_file()
    assert "in 20 sessions" in result.output
