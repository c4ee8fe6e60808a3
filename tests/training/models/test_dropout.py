import pytest
import torch

from serving.errors import WrongUse
from training.models.dropout import Dropout


def test_nothing_is_dropped_in_evaluation_or_at_a_share_of_zero() -> None:
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    y = Dropout(p)(x)
    # Standard deviation of the share: at most half a thousandth.
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.0025)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert len(y.unique()) == 2
    # Every place is as likely as any other, whichever bits of a draw it takes.
    for place in range(4):
        assert float((y.flatten()[place::4] == 0).float().mean()) == pytest.approx(p, abs=0.005)


def test_gradients_pass_where_values_did() -> None:
    x = torch.ones(7, 9, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y)


def test_torchs_generator_decides() -> None:
    torch.manual_seed(3)
    first, second = (Dropout(0.5)(torch.ones(5, 5)) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(torch.ones(5, 5)), first)
    assert not torch.equal(first, second)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(WrongUse, match="p is a share from 0 to below 1, not 1"):
        Dropout(1.0)
