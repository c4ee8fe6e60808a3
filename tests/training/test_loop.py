import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import WrongUse
from tests.training.conftest import as_events
from training.account import LoopConfig, Progress, Report
from training.batches import cut_windows
from training.checkpoint import load_checkpoint
from training.counters import fit_popularity
from training.data.sequences import Events
from training.device import Device, Precision
from training.errors import CheckpointError, TrainingError
from training.evaluation.cases import Cases
from training.evaluation.dense import evaluate_dense
from training.evaluation.scorers import CounterScorer
from training.loop import Trainer
from training.losses import Loss, LossConfig
from training.models import AnyConfig, GRUConfig, LSTMConfig, SASRecConfig, SessionEncoder, build_encoder
from training.optimizer import OptimizerConfig
from training.parallel import Group
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
    model: AnyConfig | None = None,
    *,
    seed: int = 0,
    epochs: int = 4,
    patience: int = 9,
    loss: LossConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    precision: Precision = "float32",
    device: Device = "cpu",
) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder(model or GRUConfig(dim=8, hidden=16, dropout=0.1), ITEMS)
    scorer = EncoderScorer(encoder, 10, COUNTS)
    return Trainer(
        encoder=encoder,
        windows=cut_windows(TRAIN, 10),
        loss=Loss(loss or LossConfig(negatives=12), torch.from_numpy(COUNTS), torch.from_numpy(COUNTS), precision),
        validate=lambda: validation_figures(scorer, VALID, exclude="none", ks=[20]),
        config=LoopConfig(
            epochs=epochs,
            batch_targets=64,
            patience=patience,
            monitor="mrr@20",
            threads=1,
            precision=precision,
            device=device,
        ),
        optimizer=optimizer or OptimizerConfig(learning_rate=0.02),
        seed=seed,
    )


def _equal(one: SessionEncoder, other: SessionEncoder) -> bool:
    other_state = other.state_dict()
    return all(torch.equal(tensor, other_state[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("model", [GRUConfig(dim=8, hidden=16, dropout=0), LSTMConfig(dim=8, hidden=16, dropout=0)])
@pytest.mark.parametrize("kind", ["softmax", "sampled-softmax"])
def test_a_known_structure_is_learnt(model: AnyConfig, kind: str) -> None:
    progress = _trainer(model, loss=LossConfig(kind=kind, negatives=12), epochs=12).run()  # type: ignore[arg-type]
    losses = [epoch.loss for epoch in progress.epochs]
    popular = CounterScorer("popularity", fit_popularity([session.rows for session in TRAIN], ITEMS), COUNTS)
    by_popularity = evaluate_dense(popular, VALID, ITEMS, exclude="none", k=20).ranks
    best = progress.best()
    assert best is not None
    assert losses[-1] < losses[0] / 2
    # Five clicks show the stride, so nearly every next item can be known; popularity says nothing here.
    assert best.validation["mrr@20"] > 0.9 > 3 * float(np.mean(1 / by_popularity))


@pytest.mark.parametrize("tables", ["dense", "sparse"])
@pytest.mark.parametrize(("kind", "rate"), [("adam", 0.02), ("adamw", 0.02), ("sgd", 1.0), ("adagrad", 0.1)])
def test_every_optimizer_learns(kind: str, rate: float, tables: str) -> None:
    how = OptimizerConfig(kind=kind, learning_rate=rate, tables=tables)  # type: ignore[arg-type]
    progress = _trainer(optimizer=how, epochs=8).run()
    assert progress.epochs[-1].loss < 0.6 * progress.epochs[0].loss


@pytest.mark.parametrize("source", ["uniform", "in-batch", "mixed"])
@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce", "bpr-max", "bce"])
def test_every_loss_learns_from_all_negatives(kind: str, source: str) -> None:
    config = LossConfig(kind=kind, source=source, negatives=12, regularization=0.01)  # type: ignore[arg-type]
    best = _trainer(loss=config, epochs=12).run().best()
    assert best is not None
    assert best.validation["mrr@20"] > 0.8


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


@pytest.mark.parametrize("tables", ["dense", "sparse"])
@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "adagrad"])
def test_a_resumed_training_ends_with_the_weights_of_one_that_never_stopped(
    tmp_path: Path, kind: str, tables: str
) -> None:
    how = OptimizerConfig(kind=kind, tables=tables, learning_rate=0.02, weight_decay=0.01)  # type: ignore[arg-type]
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


def _kill_after(steps: int) -> Callable[[Report], None]:
    left = [steps]

    def report(report: Report) -> None:
        left[0] -= report.epoch is None
        if left[0] < 0:
            raise _Killed

    return report


@pytest.mark.parametrize("steps", [1, 13, 23])
@pytest.mark.parametrize(
    ("model", "loss", "optimizer"),
    [
        (GRUConfig(dim=8, hidden=16, dropout=0.3), LossConfig(negatives=12), OptimizerConfig()),
        (
            SASRecConfig(dim=8, dropout=0.3, window=10),
            LossConfig(kind="softmax"),
            OptimizerConfig(schedule="warm-up-cosine"),
        ),
        (
            LSTMConfig(dim=8, hidden=16, dropout=0.3, tied=False),
            LossConfig(source="mixed", negatives=12),
            OptimizerConfig(schedule="warm-up", tables="sparse"),
        ),
        (
            GRUConfig(dim=8, hidden=16),
            LossConfig(kind="bpr-max", source="in-batch"),
            OptimizerConfig(kind="sgd", schedule="constant", tables="sparse"),
        ),
    ],
)
def test_a_training_that_is_resumed_within_an_epoch_ends_with_the_very_same_weights(
    tmp_path: Path, steps: int, model: AnyConfig, loss: LossConfig, optimizer: OptimizerConfig
) -> None:
    """1,500 targets are 24 steps an epoch."""

    def trainer() -> Trainer:
        plain = _trainer(model, epochs=2, loss=loss, optimizer=optimizer)
        return replace(plain, checkpoints=tmp_path, checkpoint_minutes=0)

    with pytest.raises(_Killed):
        replace(trainer(), report=_kill_after(steps)).run()
    checkpoint = load_checkpoint(tmp_path, {})
    assert checkpoint.progress["within"]["batches"] == steps
    resumed, whole = trainer(), replace(_trainer(model, epochs=2, loss=loss, optimizer=optimizer))
    resumed.resume(checkpoint)
    assert resumed.run() == whole.run()
    assert _equal(resumed.encoder, whole.encoder)


def test_a_training_that_was_killed_while_it_validated_validates_again(tmp_path: Path) -> None:
    def kill() -> dict[str, float]:
        raise _Killed

    with pytest.raises(_Killed):
        replace(_trainer(epochs=2), checkpoints=tmp_path, checkpoint_minutes=0, validate=kill).run()
    checkpoint = load_checkpoint(tmp_path, {})
    assert checkpoint.progress["within"]["targets"] == 1500
    resumed, whole = _trainer(epochs=2), _trainer(epochs=2)
    resumed.resume(checkpoint)
    assert resumed.run() == whole.run()
    assert _equal(resumed.encoder, whole.encoder)


def test_checkpoints_within_an_epoch_are_as_rare_as_said(tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        replace(_trainer(), checkpoints=tmp_path, checkpoint_minutes=60, report=_kill_after(5)).run()
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    trainer = replace(_trainer(epochs=1), checkpoints=tmp_path)
    trainer.run()
    two = replace(_trainer(epochs=1), group=Group(1, 2))
    with pytest.raises(CheckpointError, match="was written by 1 processes, and this training has 2: start as many"):
        two.resume(load_checkpoint(tmp_path, {}))


def test_without_validation_the_last_weights_are_kept_and_it_may_stop_before_the_schedule_does() -> None:
    whole = replace(_trainer(epochs=3, patience=1), validate=None)
    assert whole.run().best_epoch == 3
    kept: list[dict[str, torch.Tensor]] = []
    stopped = replace(_trainer(epochs=3), validate=None, stop_after=2)
    progress = stopped.run()
    assert (progress.best_epoch, len(progress.epochs), progress.finished) == (2, 2, True)
    longer = _trainer(epochs=3)
    longer.report = lambda report: (
        kept.append({name: tensor.clone() for name, tensor in longer.encoder.state_dict().items()})
        if report.epoch
        else None
    )
    longer.run()
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in stopped.encoder.state_dict().items())


@pytest.mark.parametrize("kind", ["softmax", "sampled-softmax"])
@pytest.mark.parametrize(
    "model",
    [GRUConfig(dim=8, hidden=16, dropout=0), SASRecConfig(dim=8, heads=2, dropout=0, window=10)],
)
def test_bfloat16_learns_and_leaves_weights_in_float32(model: AnyConfig, kind: str) -> None:
    loss = LossConfig(kind=kind, negatives=12)  # type: ignore[arg-type]
    trainer = _trainer(model, loss=loss, epochs=8, precision="bf16")
    best = trainer.run().best()
    assert best is not None
    assert best.validation["mrr@20"] > 0.8
    assert {tensor.dtype for tensor in trainer.encoder.state_dict().values()} == {torch.float32}


def test_bfloat16_rounds_otherwise() -> None:
    plain, rounded = _trainer(epochs=1), _trainer(epochs=1, precision="bf16")
    plain.run()
    rounded.run()
    assert not _equal(plain.encoder, rounded.encoder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, which would be taken")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"loop\.device is 'cuda', but torch finds 0 GPUs .* set loop\.device=cpu"):
        _trainer(device="cuda")


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
