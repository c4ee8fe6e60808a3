import pytest
import torch
from torch import nn

from serving.errors import WrongUse
from training.optimizer import OptimizerConfig, learning_rate, make_optimizer


def test_one_cycle_is_torchs_own() -> None:
    config = OptimizerConfig(learning_rate=0.01, warm_up=0.3)
    steps = 101
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=steps, pct_start=(0.3 * (steps - 1) + 1) / steps, cycle_momentum=False
    )
    for step in range(steps):
        assert learning_rate(config, step / (steps - 1)) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_a_constant_schedule_is_constant() -> None:
    config = OptimizerConfig(learning_rate=0.01, schedule="constant")
    assert {learning_rate(config, progress) for progress in (0.0, 0.5, 1.0)} == {0.01}


@pytest.mark.parametrize(("kind", "expected"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_the_kind_names_the_optimizer(kind: str, expected: type[torch.optim.Optimizer]) -> None:
    optimizer = make_optimizer(OptimizerConfig(kind=kind, weight_decay=0.1), [nn.Parameter(torch.zeros(3))])  # type: ignore[arg-type]
    assert isinstance(optimizer, expected)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_values_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(WrongUse, match="learning_rate must be above 0, not 0"):
        OptimizerConfig(learning_rate=0)
    with pytest.raises(WrongUse, match=r"warm_up is a share from 0 to below 1, not 1\.5"):
        OptimizerConfig(warm_up=1.5)
