"""A recipe: everything that decides what a training gives, but the data and the seed."""

from dataclasses import asdict, dataclass, field
from typing import Any

from serving.errors import WrongUse
from serving.settings import MAX_SESSION_LENGTH, Exclude
from training.account import LoopConfig
from training.blend import BlendConfig
from training.checks import within
from training.counters import CounterConfig, counter_name
from training.data.clean import Preparation
from training.losses import LossConfig
from training.models import AnyConfig, AttentionConfig, HSTUConfig, kind_of
from training.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one bundle."""

    name: str
    protocol: str = "next-item"
    """What is kept away for tests, and by the same rule for validation (`training.data.splits`)."""
    preparation: Preparation = field(default_factory=Preparation)
    """How clicks become sessions."""
    model: AnyConfig | None = None
    """The encoder; None for counters alone."""
    counters: tuple[CounterConfig, ...] = ()
    """Counting models, blended with the encoder where there is one."""
    blend: BlendConfig = field(default_factory=BlendConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    window: int = 50
    """Events of a session that the encoder reads at most, in training and in the stream."""
    exclude: Exclude = "current"
    """What lists leave out in validation; the stream has its own setting."""
    index: str = "Flat"
    """FAISS's factory string, and behind a space its parameters, such as `HNSW16 efConstruction=100,efSearch=32`."""

    def __post_init__(self) -> None:
        within(2, MAX_SESSION_LENGTH, window=self.window)
        if self.model is None and not self.counters:
            raise WrongUse(
                f"recipe {self.name} has neither model nor counters: name one of them, before the other is taken away"
            )
        if isinstance(self.model, AttentionConfig) and self.model.window < self.window:
            raise WrongUse(
                f"window {self.window} is longer than the {self.model.window} events that the model has places for: "
                f"set model.window={self.window}"
            )
        if self.counters and isinstance(self.model, HSTUConfig) and self.model.time_of == "query":
            raise WrongUse(
                f"recipe {self.name} blends counters with a model that reads the time of the query: a worker cannot "
                "serve it, and dense scores show no counters; set model.time_of=last, or leave the counters out"
            )

    def parameters(self) -> dict[str, Any]:
        """Return all of it as JSON-able values, with the model's kind; goes into manifest and checkpoint."""
        tree = asdict(self)
        if self.model is not None:
            tree["model"] = {"kind": kind_of(self.model), **tree["model"]}
        tree["counters"] = [
            {"kind": counter_name(config), **counter}
            for config, counter in zip(self.counters, tree["counters"], strict=True)
        ]
        return tree
