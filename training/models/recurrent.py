"""What recurrent encoders share: a session is the last hidden state of a recurrent network over its item vectors.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D items' width    H hidden width
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from training.checks import above, at_least, share
from training.models.encoder import SessionEncoder
from training.models.items import ItemTable, unit


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Size and regularisation of a `Recurrent` encoder."""

    dim: int = 100
    """Width of item vectors and session vectors, D."""
    hidden: int = 100
    """Width of the hidden state, H, of each layer."""
    layers: int = 1
    dropout: float = 0.3
    """Share of the inputs, and of the last layer's hidden states, that training sets to zero."""
    tied: bool = True
    """One table for the items read and the items scored."""
    temperature: float | None = 0.07
    """Scores are cosines divided by this; None leaves plain inner products."""

    def __post_init__(self) -> None:
        at_least(1, dim=self.dim, hidden=self.hidden, layers=self.layers)
        share(dropout=self.dropout)
        if self.temperature is not None:
            above(0, temperature=self.temperature)


class Recurrent(SessionEncoder):
    """Item vectors in, a recurrent network, and a projection from its hidden states to the items' width.

    `items` is the size of the catalogue, without padding. A subclass names the network, and writes its step.
    """

    form = "step"
    network_type: ClassVar[type[nn.GRU] | type[nn.LSTM]]
    states_per_layer: ClassVar[int]
    """Vectors of width H that a layer carries."""

    def __init__(self, items: int, config: RecurrentConfig) -> None:
        super().__init__()
        cosine = config.temperature is not None
        self.items = ItemTable(items, dim=config.dim, tied=config.tied, unit_norm=cosine)
        self.scale = 1.0 if config.temperature is None else 1.0 / config.temperature
        self.dim = self.input_dim = config.dim
        self.state_size = self.states_per_layer * config.layers * config.hidden
        # Under the encoder's own name, which checkpoints and exported files show.
        self.add_module(self.kind, self.network_type(config.dim, config.hidden, config.layers, batch_first=True))
        self.project = nn.Linear(config.hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def network(self) -> Any:
        """The recurrent network."""
        return self.get_submodule(self.kind)

    def forward(self, items_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the session vector after each event, `[B, L, D]` (see `SessionEncoder.forward`)."""
        # The network is causal, so padding on the right cannot reach a real event's state: lengths are not needed.
        hidden_BLH, _ = self.network(self.dropout(self.items.read(items_BL)))
        return self.vector(self.dropout(hidden_BLH))

    def vector(self, hidden: Tensor) -> Tensor:
        """Return session vectors `[..., D]` for hidden states of the last layer `[..., H]`."""
        vector: Tensor = self.project(hidden)
        return unit(vector) if self.items.unit_norm else vector
