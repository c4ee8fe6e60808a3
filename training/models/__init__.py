"""Encoders, one file each; `build_encoder` makes one from its configuration."""

from training.models.attention import AttentionConfig
from training.models.core import CORE, COREConfig
from training.models.encoder import EncoderConfig, SessionEncoder
from training.models.gru import GRU, GRUConfig
from training.models.hstu import HSTU, HSTUConfig
from training.models.items import ItemTable
from training.models.ligr import LiGR, LiGRConfig
from training.models.lstm import LSTM, LSTMConfig
from training.models.sasrec import SASRec, SASRecConfig

AnyConfig = GRUConfig | LSTMConfig | SASRecConfig | LiGRConfig | COREConfig | HSTUConfig

CONFIGS: dict[str, type[AnyConfig]] = {
    GRU.kind: GRUConfig,
    LSTM.kind: LSTMConfig,
    SASRec.kind: SASRecConfig,
    LiGR.kind: LiGRConfig,
    CORE.kind: COREConfig,
    HSTU.kind: HSTUConfig,
}
"""Configurations by the name of their encoder."""


def kind_of(config: AnyConfig) -> str:
    """Return the name of the encoder that a configuration is for."""
    return next(kind for kind, known in CONFIGS.items() if type(config) is known)


def build_encoder(config: AnyConfig, items: int, event_types: int = 0) -> SessionEncoder:
    """Return a freshly initialised encoder for a catalogue of `items` items (without padding), from torch's RNG."""
    match config:
        case GRUConfig():
            return GRU(items, config, event_types)
        case LSTMConfig():
            return LSTM(items, config, event_types)
        case SASRecConfig():
            return SASRec(items, config, event_types)
        case LiGRConfig():
            return LiGR(items, config, event_types)
        case COREConfig():
            return CORE(items, config, event_types)
        case HSTUConfig():
            return HSTU(items, config, event_types)


__all__ = [
    "CONFIGS",
    "CORE",
    "GRU",
    "HSTU",
    "LSTM",
    "AnyConfig",
    "AttentionConfig",
    "COREConfig",
    "EncoderConfig",
    "GRUConfig",
    "HSTUConfig",
    "ItemTable",
    "LSTMConfig",
    "LiGR",
    "LiGRConfig",
    "SASRec",
    "SASRecConfig",
    "SessionEncoder",
    "build_encoder",
    "kind_of",
]
