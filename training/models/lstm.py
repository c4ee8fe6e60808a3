"""An LSTM over a session's item vectors; the session is its last hidden state.

Hochreiter and Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735, used as GRU4Rec uses its GRU
(`training/models/gru.py`). It carries a cell state beside the hidden state, so its state is twice as long.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D items' width    H hidden width
    S 2 * layers * H
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.recurrent import Recurrent, RecurrentConfig


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """Size and regularisation of an `LSTM`, whose cell states are as wide as its hidden states."""


class LSTM(Recurrent):
    """The encoder."""

    kind = "lstm"
    network_type = nn.LSTM
    states_per_layer = 2

    def exported(self) -> nn.Module:
        """Return the step form; its state is the hidden states of all layers, then their cell states."""
        return _Step(self)


class _Step(nn.Module):
    """One event. Written with cells, which export as a dozen plain operators."""

    def __init__(self, encoder: LSTM) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return `state_out [B, S]` and `vector [B, D]` for `x [B, D]` and `state [B, S]`."""
        lstm = self.encoder.network
        parts = state.chunk(2 * lstm.num_layers, dim=1)
        hidden, cells = [], []
        for layer, weights in enumerate(lstm.all_weights):
            x, cell_BH = torch.lstm_cell(x, (parts[layer], parts[lstm.num_layers + layer]), *weights)
            hidden.append(x)
            cells.append(cell_BH)
        return torch.cat(hidden + cells, dim=1), self.encoder.vector(x)
