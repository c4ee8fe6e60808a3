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

from training.models.recurrent import Recurrent, RecurrentConfig


@dataclass(frozen=True, kw_only=True)
class GRUConfig(RecurrentConfig):
    """Size and regularisation of a `GRU`."""


class GRU(Recurrent):
    """The encoder."""

    kind = "gru"
    network_type = nn.GRU
    states_per_layer = 1

    def exported(self) -> nn.Module:
        """Return the step form; its state is the hidden states of all layers, one after the other."""
        return _Step(self)


class _Step(nn.Module):
    """One event. Written with cells, which export as a dozen plain operators."""

    def __init__(self, encoder: GRU) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return `state_out [B, S]` and `vector [B, D]` for `x [B, D]` and `state [B, S]`."""
        gru = self.encoder.network
        hidden = []
        for weights, hidden_BH in zip(gru.all_weights, state.chunk(gru.num_layers, dim=1), strict=True):
            x = torch.gru_cell(x, hidden_BH, *weights)
            hidden.append(x)
        return torch.cat(hidden, dim=1), self.encoder.vector(x)
