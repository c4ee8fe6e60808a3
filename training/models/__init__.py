"""Encoders, one file each; `build_encoder` makes one from its configuration."""

from training.models.encoder import SessionEncoder
from training.models.gru import GRU, GRUConfig
from training.models.items import ItemTable
from training.models.lstm import LSTM, LSTMConfig

EncoderConfig = GRUConfig | LSTMConfig

CONFIGS: dict[str, type[EncoderConfig]] = {GRU.kind: GRUConfig, LSTM.kind: LSTMConfig}
"""Configurations by the name of their encoder."""


def kind_of(config: EncoderConfig) -> str:
    """Return the name of the encoder that a configuration is for."""
    return next(kind for kind, known in CONFIGS.items() if isinstance(config, known))


def build_encoder(config: EncoderConfig, items: int) -> SessionEncoder:
    """Return a freshly initialised encoder for a catalogue of `items` items (without padding), from torch's RNG."""
    match config:
        case GRUConfig():
            return GRU(items, config)
        case LSTMConfig():
            return LSTM(items, config)


__all__ = [
    "CONFIGS",
    "GRU",
    "LSTM",
    "EncoderConfig",
    "GRUConfig",
    "ItemTable",
    "LSTMConfig",
    "SessionEncoder",
    "build_encoder",
    "kind_of",
]
