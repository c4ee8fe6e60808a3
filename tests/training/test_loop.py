import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import WrongUse
from tests.training.conftest import as_events
from training.batches import cut_windows
from training.checkpoint import load_checkpoint
from training.data.sequences import Events
from training.errors import TrainingError
from training.evaluation.baselines import Popularity
from training.evaluation.cases import Cases
from training.evaluation.dense import evaluate_dense
from training.loop import LoopConfig, Progress, Report, Trainer
from training.losses import Loss, LossConfig
from training.models import EncoderConfig, GRUConfig, LSTMConfig, SessionEncoder, build_encoder
from training.optimizer import OptimizerConfig
from training.validation import EncoderScorer, validation_figures

ITEMS = 20


def _walks(sessions: int, seed: int) -> list[Events]:
    """Sessions that go round the catalogue, by one or by two: the last item alone does not say which."""
    random = np.random.default_rng(seed)
    start, stride = random.integers(0, ITEMS, sessions), random.integers(1, 3, sessions)
    return as_events((a + b * np.arange(6)) % ITEMS + 1 for a, b in zip(start, stride, strict=True))


def _cases(sessions: list[Events]) -> Cases:
    """Predict the last click of each session."""
    last = np.array([len(session) - 1 for session in sessions])
    return Cases(sessions, np.arange(len(sessions)), last, last)


TRAIN, VALID = _walks(300, 0), _cases(_walks(60, 1))
COUNTS = np.bincount(np.concatenate([session.rows for session in TRAIN]), minlength=ITEMS + 1).astype(np.float32)


def _trainer(
    model: EncoderConfig | None = None,
    *,
    seed: int = 0,
    epochs: int = 4,
    patience: int = 9,
    loss: LossConfig | None = None,
    optimizer: OptimizerConfig | None = None,
) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder(model or GRUConfig(dim=8, hidden=16, dropout=0.1), ITEMS)
    scorer = EncoderScorer(encoder, 10, COUNTS)
    return Trainer(
        encoder=encoder,
        windows=cut_windows(TRAIN, 10),
        loss=Loss(loss or LossConfig(negatives=12), torch.from_numpy(COUNTS)),
        validate=lambda: validation_figures(scorer, VALID, exclude="none", k=20),
        config=LoopConfig(epochs=epochs, batch_targets=64, patience=patience, monitor="mrr@20", threads=1),
        optimizer=optimizer or OptimizerConfig(learning_rate=0.02),
        seed=seed,
    )


def _equal(one: SessionEncoder, other: SessionEncoder) -> bool:
    other_state = other.state_dict()
    return all(torch.equal(tensor, other_state[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("model", [GRUConfig(dim=8, hidden=16, dropout=0), LSTMConfig(dim=8, hidden=16, dropout=0)])
@pytest.mark.parametrize("negatives", [0, 12])
def test_a_known_structure_is_learnt(model: EncoderConfig, negatives: int) -> None:
    progress = _trainer(model, loss=LossConfig(negatives=negatives), epochs=12).run()
    losses = [epoch.loss for epoch in progress.epochs]
    popular = evaluate_dense(
        Popularity([session.rows for session in TRAIN], ITEMS), VALID, ITEMS, exclude="none", k=20
    ).ranks
    best = progress.best()
    assert best is not None
    assert losses[-1] < losses[0] / 2
    # Five clicks show the stride, so nearly every next item can be known; popularity says nothing here.
    assert best.validation["mrr@20"] > 0.9 > 3 * float(np.mean(1 / popular))


def test_sgd_learns_too() -> None:
    progress = _trainer(optimizer=OptimizerConfig(kind="sgd", learning_rate=1.0)).run()
    assert progress.epochs[-1].loss < progress.epochs[0].loss


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = _trainer(seed=3), _trainer(seed=3), _trainer(seed=4)
    for trainer in (first, again, other):
        trainer.run()
    assert _equal(first.encoder, again.encoder)
    assert not _equal(first.encoder, other.encoder)


def test_a_training_leaves_torchs_own_state_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    _trainer(epochs=1).run()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


class _Killed(Exception):
    pass


def _kill_in(epoch: int) -> Callable[[Report], None]:
    def report(report: Report) -> None:
        if report.number == epoch:
            raise _Killed

    return report


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_training_ends_with_the_weights_of_one_that_never_stopped(tmp_path: Path, optimizer: str) -> None:
    how = OptimizerConfig(kind=optimizer, learning_rate=0.02)  # type: ignore[arg-type]
    whole = _trainer(optimizer=how)
    expected = whole.run()

    killed = replace(_trainer(optimizer=how), checkpoints=tmp_path, identity={"seed": 0}, report=_kill_in(3))
    with pytest.raises(_Killed):
        killed.run()
    resumed = _trainer(optimizer=how)
    resumed.resume(load_checkpoint(tmp_path, {"seed": 0}))
    assert len(resumed.progress.epochs) == 2

    assert resumed.run() == expected
    assert _equal(resumed.encoder, whole.encoder)


def test_a_finished_training_that_is_resumed_is_finished(tmp_path: Path) -> None:
    trainer = replace(_trainer(epochs=2), checkpoints=tmp_path)
    expected = trainer.run()
    again = _trainer(epochs=2)
    again.resume(load_checkpoint(tmp_path, {}))
    assert again.run() == expected
    assert _equal(again.encoder, trainer.encoder)


def test_training_stops_after_the_patience_and_keeps_the_best_weights() -> None:
    figures = iter([0.3, 0.5, 0.4, 0.5, 0.6])
    kept: list[dict[str, torch.Tensor]] = []
    trainer = replace(_trainer(epochs=9, patience=2), validate=lambda: {"mrr@20": next(figures)})
    trainer.report = lambda report: (
        kept.append({name: tensor.clone() for name, tensor in trainer.encoder.state_dict().items()})
        if report.epoch
        else None
    )
    progress = trainer.run()
    # 0.5 in epoch 2 is not passed in the two epochs after it.
    assert (progress.best_epoch, len(progress.epochs)) == (2, 4)
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in trainer.encoder.state_dict().items())


def test_reports_tell_how_far_it_is() -> None:
    reports: list[Report] = []
    replace(_trainer(epochs=2), report=reports.append).run()
    shares = [report.done for report in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [report.epoch.number for report in reports if report.epoch] == [1, 2]
    assert reports[-1].eta_s == 0


def test_a_budget_shortens_the_plan_to_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr("training.loop.time.monotonic", lambda: float(next(clock)))
    reports: list[Report] = []
    progress = replace(_trainer(epochs=1000), max_seconds=2000.0, report=reports.append).run()
    assert progress.finished
    assert len(progress.epochs) < 1000
    assert next(clock) < 2000 + 50
    # It knows early on, and so runs through the whole schedule.
    assert any(0.4 < report.done < 0.6 for report in reports)


def test_the_shortest_budget_gives_one_step() -> None:
    trainer = replace(_trainer(), max_seconds=1e-9)
    (epoch,) = trainer.run().epochs
    assert math.isfinite(epoch.loss)


def test_a_budget_that_suffices_changes_nothing() -> None:
    plain, budgeted = _trainer(), replace(_trainer(), max_seconds=3600.0)
    assert plain.run() == budgeted.run()
    assert _equal(plain.encoder, budgeted.encoder)


def test_a_loss_that_is_no_number_is_an_error() -> None:
    trainer = _trainer(model=GRUConfig(dim=8, hidden=16, temperature=None))
    with torch.no_grad():
        trainer.encoder.get_parameter("project.weight").fill_(math.inf)
    with pytest.raises(TrainingError, match="training diverged; lower the learning rate"):
        trainer.run()


def test_a_monitor_that_is_no_figure_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"monitor 'loss' is no validation figure; there are .*ndcg@20"):
        LoopConfig(monitor="loss")


def test_progress_of_an_untrained_encoder_has_no_best() -> None:
    assert Progress().best() is None


def test_sessions_of_one_click_do_not_matter() -> None:
    plain, more = _trainer(epochs=1), _trainer(epochs=1)
    more.windows = cut_windows([*TRAIN, *as_events([[3], [4]])], 10)
    plain.run()
    more.run()
    assert _equal(plain.encoder, more.encoder)
