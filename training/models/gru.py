"""GRU4Rec: a session is the last hidden state of a GRU over its item vectors.

Hidasi et al., ICLR 2016, https://arxiv.org/abs/1511.06939.  Deviations: full sequences instead of session-parallel
mini-batches; tied item vectors (the authors' later "constrained embeddings"); a projection from the hidden state to
the items' width; vectors of length 1 and a temperature, unless `temperature` is None.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D items' width    H hidden width    S layers * H
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.checks import above, at_least, share
from training.models.encoder import SessionEncoder
from training.models.items import ItemTable, unit


@dataclass(frozen=True, kw_only=True)
class GRUConfig:
    """Size and regularisation of a `GRU`."""

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


class GRU(SessionEncoder):
    """The encoder. `items` is the size of the catalogue, without padding."""

    kind = "gru"
    form = "step"

    def __init__(self, items: int, config: GRUConfig) -> None:
        super().__init__()
        cosine = config.temperature is not None
        self.items = ItemTable(items, dim=config.dim, tied=config.tied, unit_norm=cosine)
        self.scale = 1.0 if config.temperature is None else 1.0 / config.temperature
        self.dim = self.input_dim = config.dim
        self.state_size = config.layers * config.hidden
        self.gru = nn.GRU(config.dim, config.hidden, config.layers, batch_first=True)
        self.project = nn.Linear(config.hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, items_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the session vector after each event, `[B, L, D]` (see `SessionEncoder.forward`)."""
        # The GRU is causal, so padding on the right cannot reach a real event's state: lengths are not needed.
        hidden_BLH, _ = self.gru(self.dropout(self.items.read(items_BL)))
        return self.vector(self.dropout(hidden_BLH))

    def vector(self, hidden: Tensor) -> Tensor:
        """Return session vectors `[..., D]` for hidden states of the last layer `[..., H]`."""
        vector: Tensor = self.project(hidden)
        return unit(vector) if self.items.unit_norm else vector

    def step_module(self) -> nn.Module:
        """Return the step form; its state is the hidden states of all layers, one after the other."""
        return _Step(self)


class _Step(nn.Module):
    """One event. Written with cells, which export as a dozen plain operators."""

    def __init__(self, encoder: GRU) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return `state_out [B, S]` and `vector [B, D]` for `x [B, D]` and `state [B, S]`."""
        gru = self.encoder.gru
        hidden = []
        for weights, hidden_BH in zip(gru.all_weights, state.chunk(gru.num_layers, dim=1), strict=True):
            x = torch.gru_cell(x, hidden_BH, *weights)
            hidden.append(x)
        return torch.cat(hidden, dim=1), self.encoder.vector(x)
