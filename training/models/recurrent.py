"""What recurrent encoders share: a session is the last hidden state of a recurrent network over its item vectors.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D items' width    H hidden width
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from training.checks import at_least
from training.models.dropout import Dropout
from training.models.encoder import EncoderConfig, SessionEncoder
from training.models.items import unit


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(EncoderConfig):
    """Size and regularisation of a `Recurrent` encoder: dropout falls on inputs and on the last hidden states."""

    hidden: int = 100
    """Width of the hidden state, H, of each layer."""
    layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, hidden=self.hidden, layers=self.layers)


class Recurrent(SessionEncoder):
    """Item vectors in, a recurrent network, and a projection from its hidden states to the items' width.

    A subclass names the network, and writes its step.
    """

    form = "step"
    network_type: ClassVar[type[nn.GRU] | type[nn.LSTM]]
    states_per_layer: ClassVar[int]
    """Vectors of width H that a layer carries."""

    def __init__(self, items: int, config: RecurrentConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types)
        self.state_size = self.states_per_layer * config.layers * config.hidden
        # Under the encoder's own name, which checkpoints and exported files show.
        self.add_module(self.kind, self.network_type(config.dim, config.hidden, config.layers, batch_first=True))
        self.project = nn.Linear(config.hidden, config.dim)
        self.dropout = Dropout(config.dropout)

    @property
    def network(self) -> Any:
        """The recurrent network."""
        return self.get_submodule(self.kind)

    def vectors(self, x_BLD: Tensor, ages_BLL: Tensor | None) -> Tensor:
        """Return the session vector after each event, `[B, L, D]` (see `SessionEncoder.vectors`)."""
        # The network is causal, so padding on the right cannot reach a real event's state: lengths are not needed.
        hidden_BLH, _ = self.network(self.dropout(x_BLD))
        return self.vector(self.dropout(hidden_BLH))

    def vector(self, hidden: Tensor) -> Tensor:
        """Return session vectors `[..., D]` for hidden states of the last layer `[..., H]`."""
        vector: Tensor = self.project(hidden)
        return unit(vector) if self.items.unit_norm else vector
