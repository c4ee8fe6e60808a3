"""Real searches with small trainings on a generated shop."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.errors import WrongUse
from training.account import LoopConfig
from training.counters import SequentialRulesConfig, SessionKnnConfig
from training.data.cuts import whole
from training.data.splits import Training
from training.errors import CheckpointError, DataError, TrainingError
from training.losses import LossConfig
from training.models import GRUConfig, SASRecConfig
from training.recipes import Recipe, override
from training.train import train_bundle
from training.tune import Plan, Record, Seen, build_space, read_record, search

RECIPE = Recipe(
    name="small",
    model=GRUConfig(dim=8, hidden=8, dropout=0.1),
    loss=LossConfig(negatives=32),
    loop=LoopConfig(epochs=4, batch_targets=256, threads=1),
    window=10,
)
COUNTERS = Recipe(name="counting", counters=(SequentialRulesConfig(), SessionKnnConfig()))
RATES = ("optimizer.learning_rate=1e-5..1e-1:log", "model=gru|core", "model.hidden=4..16")


def _plan(recipe: Recipe = RECIPE, searched: tuple[str, ...] = RATES, **other: Any) -> Plan:
    return Plan(recipe=recipe, space=build_space(recipe, {}, searched, []), **other)


def _same(record: Record) -> dict[str, Any]:
    """All of an account but what the clock decides."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    for trial in plain["trials"]:
        del trial["seconds"]
    return plain


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def searched(small_training: Training, directory: Path) -> Record:
    """A search of eight trials that nothing interrupts."""
    return search(_plan(trials=8), small_training, directory, command="nextclick tune small")


def test_the_account_has_all_trials_and_what_they_depend_on(
    searched: Record, small_training: Training, directory: Path
) -> None:
    assert [trial.number for trial in searched.trials] == list(range(8))
    assert searched.trials[0].values == {"optimizer.learning_rate": "0.003", "model": "gru", "model.hidden": "8"}
    written = json.loads((directory / "trials.json").read_text())
    assert written == msgspec.to_builtins(searched)
    assert written["data"]["fingerprint"] == small_training.clicks.fingerprint
    assert (written["recipe"], written["protocol"], written["seed"]) == ("small", "next-item", 0)
    assert (written["command"], written["monitor"]) == ("nextclick tune small", {"encoder": "ndcg@20"})
    assert [path.name for path in directory.iterdir()] == ["trials.json"]


def test_the_best_is_the_best_complete_one_and_trains_again_to_the_same_figure(
    searched: Record, small_training: Training, tmp_path: Path
) -> None:
    complete = [trial for trial in searched.trials if trial.state == "complete"]
    assert searched.best is not None
    assert searched.best.figure == max(trial.figure for trial in complete if trial.figure is not None)
    assert searched.best.figure > (searched.trials[0].figure or 1.0)
    recipe = override(RECIPE, searched.best.set)
    bundle = train_bundle(recipe, small_training, seed=0, out=tmp_path / "bundle").bundle
    assert bundle.manifest.metrics["validation"]["ndcg@20"] == searched.best.figure


def test_successive_halving_stops_trainings_early(searched: Record) -> None:
    pruned = [trial for trial in searched.trials if trial.state == "pruned"]
    assert len(pruned) >= 2
    # Rungs of 4 epochs: the first epoch and the third.
    assert {len(trial.epochs) for trial in pruned} <= {1, 3}
    first = [(trial.epochs[0], trial.state) for trial in searched.trials]
    assert min(figure for figure, state in first if state == "complete") > min(first)[0]
    assert all(len(trial.epochs) == 4 for trial in searched.trials if trial.state == "complete")


@pytest.mark.parametrize(("epochs", "patience"), [(9, 9), (4, 1)])
def test_a_training_that_ended_is_not_asked_whether_it_goes_on(
    small_training: Training, tmp_path: Path, epochs: int, patience: int
) -> None:
    """The ninth epoch of nine would be a rung; with patience a training may end on any."""
    loop = dataclasses.replace(RECIPE.loop, epochs=epochs, patience=patience)
    recipe = dataclasses.replace(RECIPE, loop=loop)
    plan = _plan(recipe, ("optimizer.learning_rate=1e-3..1e-1:log",), trials=10)
    record = search(plan, small_training, tmp_path)
    waited = [
        len(trial.epochs) > patience and trial.epochs[-1] == trial.epochs[-1 - patience] for trial in record.trials
    ]
    ended = [trial for trial, over in zip(record.trials, waited, strict=True) if over or len(trial.epochs) == epochs]
    assert len(ended) > 2
    assert {trial.state for trial in ended} == {"complete"}


def test_a_pruned_training_takes_no_further_step(small_training: Training, tmp_path: Path) -> None:
    seen: list[Seen] = []
    record = search(_plan(trials=6), small_training, tmp_path, seen=seen.append)
    for trial in record.trials:
        of_trial = [one for one in seen if one.number == trial.number]
        assert of_trial[-1].trial is trial
        # `done` is of the stage: how much of this training's four epochs was seen.
        reached = max(one.done for one in of_trial if one.trial is None) * 6 - trial.number
        assert reached == pytest.approx(len(trial.epochs) / 4, abs=0.01)


def _interrupted(plan: Plan, training: Training, out: Path, when: Callable[[Seen], bool]) -> Record:
    def seen(seen: Seen) -> None:
        if when(seen):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(plan, training, out, seen=seen)
    return read_record(out)


@pytest.mark.parametrize("killed", [False, True])
def test_a_search_that_goes_on_ends_as_one_that_was_never_interrupted(
    searched: Record, small_training: Training, tmp_path: Path, killed: bool
) -> None:
    plan = _plan(trials=8)
    # In the second half of a training of four epochs, from its third epoch on; trials before it are in the account.
    cut = next(trial.number for trial in searched.trials[1:] if trial.state == "complete")
    record = _interrupted(plan, small_training, tmp_path, lambda seen: seen.done * 8 > cut + 0.6)
    assert [trial.state for trial in record.trials] == [*(trial.state for trial in searched.trials[:cut]), "cut"]
    if killed:  # a process without a last word leaves no account of the running trial
        record.trials.pop()
        (tmp_path / "trials.json").write_bytes(msgspec.json.encode(record))
    trained: list[Seen] = []
    resumed = search(plan, small_training, tmp_path, command="nextclick tune small", resume=True, seen=trained.append)
    assert _same(resumed) == _same(searched)
    # The cut training went on from its checkpoint.
    assert min(seen.done for seen in trained) * 8 > cut + 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["trials.json"]


def test_a_search_that_ended_can_have_more_trials(searched: Record, small_training: Training, tmp_path: Path) -> None:
    search(_plan(trials=5), small_training, tmp_path)
    longer = search(_plan(trials=8), small_training, tmp_path, command="nextclick tune small", resume=True)
    assert _same(longer) == _same(searched)
    assert search(_plan(trials=8), small_training, tmp_path, command="again", resume=True).best == searched.best


def test_another_seed_tries_other_values(searched: Record, small_training: Training, tmp_path: Path) -> None:
    other = search(_plan(trials=2, seed=1), small_training, tmp_path)
    assert other.trials[0].values == searched.trials[0].values
    assert other.trials[1].values != searched.trials[1].values


@pytest.mark.usefixtures("searched")  # a process's first step loads half of torch, in any time
def test_the_time_is_kept_and_the_cut_training_goes_on(small_training: Training, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, loop=dataclasses.replace(RECIPE.loop, epochs=400, patience=400))
    rates = ("optimizer.learning_rate=1e-3..1e-2",)
    began = time.monotonic()
    times: list[float] = []
    with pytest.raises(TrainingError, match=r"no trial of the encoder came to its end in its part of 2\.5 seconds"):
        search(
            _plan(recipe, rates, max_seconds=2.5),
            small_training,
            tmp_path,
            seen=lambda seen: times.append(time.monotonic() - began if seen.trial is None else 0.0),
        )
    assert 1.0 < max(times) < 2.6  # no step is seen after the time
    [cut] = read_record(tmp_path).trials
    assert (cut.state, cut.number) == ("cut", 0)
    with pytest.raises(TrainingError, match="go on with --resume"):
        search(_plan(recipe, rates, max_seconds=2.5), small_training, tmp_path, resume=True)
    [longer] = read_record(tmp_path).trials
    assert len(longer.epochs) > len(cut.epochs)
    assert longer.epochs[: len(cut.epochs)] == cut.epochs
    assert longer.seconds > cut.seconds


def test_the_time_may_end_a_search_before_its_last_trial(small_training: Training, tmp_path: Path) -> None:
    recipe = Recipe(name="rules", counters=(SequentialRulesConfig(),))
    plan = _plan(recipe, ("counters.0.decay=0.1..1",), trials=10_000, max_seconds=3)
    record = search(plan, small_training, tmp_path)
    ended = sum(trial.state != "cut" for trial in record.trials)
    assert record.best is not None
    assert plan.missing(record) == {"counters": 10_000 - ended}


def test_counters_are_tuned_by_the_figure_of_their_blend(small_training: Training, tmp_path: Path) -> None:
    plan = _plan(COUNTERS, ("counters.1.neighbours=1..200:log", "counters.0.decay=0.1..1"), trials=5)
    record = search(plan, small_training, tmp_path / "search")
    assert [(trial.stage, trial.state) for trial in record.trials] == [("counters", "complete")] * 5
    assert record.best is not None
    assert record.monitor == {"counters": "ndcg@20"}
    bundle = train_bundle(override(COUNTERS, record.best.set), small_training, seed=0, out=tmp_path / "b").bundle
    assert bundle.manifest.metrics["blend"]["ndcg@20"] == record.best.figure


def test_what_the_sampler_has_learnt_is_learnt_again_when_a_search_goes_on(
    small_training: Training, tmp_path: Path
) -> None:
    # The first ten trials are random; from then on each value depends on all figures before it.
    searched = ("counters.0.decay=0.1..1", "counters.0.steps=1..20:log", "counters.0.gap_power=0..2")
    recipe = Recipe(name="rules", counters=(SequentialRulesConfig(),))
    whole = search(_plan(recipe, searched, trials=15), small_training, tmp_path / "whole")
    search(_plan(recipe, searched, trials=12), small_training, tmp_path / "parts")
    parts = search(_plan(recipe, searched, trials=15), small_training, tmp_path / "parts", resume=True)
    assert _same(parts) == _same(whole)

    record = read_record(tmp_path / "parts")
    record.trials = record.trials[:12]
    for trial in record.trials:
        trial.figure = -(trial.figure or 0.0)
    (tmp_path / "parts" / "trials.json").write_bytes(msgspec.json.encode(record))
    misled = search(_plan(recipe, searched, trials=15), small_training, tmp_path / "parts", resume=True)
    assert [trial.drawn for trial in misled.trials[12:]] != [trial.drawn for trial in whole.trials[12:]]


BOTH = dataclasses.replace(RECIPE, name="both", counters=(SequentialRulesConfig(),))
SIDES = ("model.dropout=0..0.5", "counters.0.decay=0.1..1", "counters.0.steps=1|5|10")


def test_counters_get_as_many_trials_as_the_encoder_and_are_blended_with_its_best(
    small_training: Training, tmp_path: Path
) -> None:
    plan = _plan(BOTH, SIDES, trials=4)
    record = search(plan, small_training, tmp_path / "search")
    assert [trial.stage for trial in record.trials] == ["encoder"] * 4 + ["counters"] * 4
    encoder, counters = record.best_of("encoder"), record.best_of("counters")
    assert encoder is not None
    assert counters is not None
    assert record.best is not None
    assert record.best.set == encoder.options + counters.options
    bundle = train_bundle(override(BOTH, record.best.set), small_training, seed=0, out=tmp_path / "b").bundle
    assert bundle.manifest.metrics["validation"]["ndcg@20"] == encoder.figure
    assert bundle.manifest.metrics["blend"]["ndcg@20"] == counters.figure == record.best.figure

    again = tmp_path / "again"
    _interrupted(plan, small_training, again, lambda seen: seen.stage == "counters" and seen.number == 2)
    resumed = search(plan, small_training, again, resume=True)
    assert _same(resumed) == _same(record)


def test_a_stage_without_anything_to_try_has_one_trial(small_training: Training, tmp_path: Path) -> None:
    record = search(_plan(BOTH, SIDES[1:], trials=3), small_training, tmp_path)
    assert [trial.stage for trial in record.trials] == ["encoder"] + ["counters"] * 3
    assert record.trials[0].values == {}


def test_values_that_do_not_fit_each_other_fail_and_the_search_goes_on(
    small_training: Training, tmp_path: Path
) -> None:
    model = SASRecConfig(dim=9, window=10, blocks=1)
    recipe = dataclasses.replace(RECIPE, model=model, loop=LoopConfig(epochs=1, threads=1))
    record = search(_plan(recipe, ("model.heads=1|2",), trials=5), small_training, tmp_path)
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert failed
    assert all("dim 9 cannot be cut into 2 heads" in (trial.error or "") for trial in failed)
    assert {trial.values["model.heads"] for trial in record.trials if trial.state == "complete"} == {"1"}


def test_a_search_in_which_all_trials_fail_says_why(small_training: Training, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, index="IVF5000,Flat")
    with pytest.raises(TrainingError, match="none of the 2 trials of the encoder has a figure: FAISS cannot build"):
        search(_plan(recipe, trials=2), small_training, tmp_path)


def test_a_half_life_over_clicks_without_times_is_refused_before_the_first_trial(
    small_training: Training, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(BOTH, counters=(SequentialRulesConfig(half_life_days=3),))
    untimed = dataclasses.replace(small_training, clicks=dataclasses.replace(small_training.clicks, timed=False))
    with pytest.raises(DataError, match=r"which counters\.0\.half_life_days=3 needs"):
        search(_plan(recipe, SIDES), untimed, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_a_search_is_not_searched_anew(
    searched: Record, small_training: Training, directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(WrongUse, match="has a search already: go on with it by --resume"):
        search(_plan(), small_training, directory)
    with pytest.raises(CheckpointError, match="there is no search in"):
        search(_plan(), small_training, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_plan(seed=1), "its seed is 0, this one's 1; use the same recipe, options, seed and data, or name another"),
        (_plan(searched=RATES[:2]), r"its space\.model\.hidden is '4\.\.16', this one's None"),
        (_plan(dataclasses.replace(RECIPE, window=9)), r"its parameters\.window is 10, this one's 9"),
    ],
)
def test_another_search_does_not_go_on(
    searched: Record, small_training: Training, directory: Path, other: Plan, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        search(other, small_training, directory, resume=True)


def test_another_validation_part_does_not_go_on(
    searched: Record, small_training: Training, directory: Path, tmp_path: Path
) -> None:
    log = small_training.validation.log.frame.head(50)
    validation = whole(small_training.validation.log.with_frame(log))
    other = dataclasses.replace(small_training, validation=validation)
    with pytest.raises(CheckpointError, match=r"its data\.validation_fingerprint is '[0-9a-f]{64}', this one's '"):
        search(_plan(trials=8), other, directory, resume=True)
    earlier = msgspec.to_builtins(searched)
    del earlier["data"]["validation_fingerprint"]
    (tmp_path / "trials.json").write_bytes(msgspec.json.encode(earlier))
    with pytest.raises(CheckpointError, match=r"earlier version, which did not keep .*: go on with that version, or"):
        search(_plan(trials=8), small_training, tmp_path, resume=True)


def test_an_account_that_is_none_is_a_sentence(tmp_path: Path, searched: Record) -> None:
    (tmp_path / "trials.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"trials\.json is no account of a search"):
        read_record(tmp_path)
    later = msgspec.json.encode(msgspec.structs.replace(searched, format=2))
    (tmp_path / "trials.json").write_bytes(later)
    with pytest.raises(CheckpointError, match="has format 2, this version reads format 1"):
        read_record(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(small_training: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUse, match="cannot be written"):
        search(_plan(), small_training, tmp_path / "file" / "search")


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"max_seconds": 0}])
def test_a_plan_without_trials_or_time_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WrongUse, match="must be"):
        _plan(**wrong)
