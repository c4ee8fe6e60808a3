"""DIGINETICA, CORE's split: sessions of a shop."""

from training.counters import SequentialRulesConfig, SessionKnnConfig
from training.loop import LoopConfig
from training.losses import LossConfig
from training.models import COREConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="diginetica",
    protocol="ratio:8-1-1",
    model=COREConfig(dim=100, blocks=1, heads=2, dropout=0.2, item_dropout=0.2, temperature=0.07, window=50),
    counters=(SequentialRulesConfig(), SessionKnnConfig(window=20, neighbours=100, sample=1000)),
    loss=LossConfig(kind="sampled-softmax", negatives=4096, alpha=0.5),
    optimizer=OptimizerConfig(learning_rate=3e-3),
    loop=LoopConfig(epochs=9, batch_targets=1024, patience=4, threads=1, monitor="mrr@20"),
    window=50,
    exclude="none",
)
