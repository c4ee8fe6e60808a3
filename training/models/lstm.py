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

from training.checks import above, at_least, share
from training.models.encoder import SessionEncoder
from training.models.items import ItemTable, unit


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Size and regularisation of an `LSTM`."""

    dim: int = 100
    """Width of item vectors and session vectors, D."""
    hidden: int = 100
    """Width of the hidden state and of the cell state, H, of each layer."""
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


class LSTM(SessionEncoder):
    """The encoder. `items` is the size of the catalogue, without padding."""

    kind = "lstm"
    form = "step"

    def __init__(self, items: int, config: LSTMConfig) -> None:
        super().__init__()
        cosine = config.temperature is not None
        self.items = ItemTable(items, dim=config.dim, tied=config.tied, unit_norm=cosine)
        self.scale = 1.0 if config.temperature is None else 1.0 / config.temperature
        self.dim = self.input_dim = config.dim
        self.state_size = 2 * config.layers * config.hidden
        self.lstm = nn.LSTM(config.dim, config.hidden, config.layers, batch_first=True)
        self.project = nn.Linear(config.hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, items_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the session vector after each event, `[B, L, D]` (see `SessionEncoder.forward`)."""
        # Causal like the GRU: padding on the right cannot reach a real event's state.
        hidden_BLH, _ = self.lstm(self.dropout(self.items.read(items_BL)))
        return self.vector(self.dropout(hidden_BLH))

    def vector(self, hidden: Tensor) -> Tensor:
        """Return session vectors `[..., D]` for hidden states of the last layer `[..., H]`."""
        vector: Tensor = self.project(hidden)
        return unit(vector) if self.items.unit_norm else vector

    def step_module(self) -> nn.Module:
        """Return the step form; its state is the hidden states of all layers, then their cell states."""
        return _Step(self)


class _Step(nn.Module):
    """One event. Written with cells, which export as a dozen plain operators."""

    def __init__(self, encoder: LSTM) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return `state_out [B, S]` and `vector [B, D]` for `x [B, D]` and `state [B, S]`."""
        lstm = self.encoder.lstm
        parts = state.chunk(2 * lstm.num_layers, dim=1)
        hidden, cells = [], []
        for layer, weights in enumerate(lstm.all_weights):
            x, cell_BH = torch.lstm_cell(x, (parts[layer], parts[lstm.num_layers + layer]), *weights)
            hidden.append(x)
            cells.append(cell_BH)
        return torch.cat(hidden + cells, dim=1), self.encoder.vector(x)
