"""DIGINETICA, CORE's split: sessions of a shop."""

from dataclasses import replace

from training.counters import VSTAN, SequentialRulesConfig
from training.loop import LoopConfig
from training.losses import LossConfig
from training.models import COREConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="diginetica",
    protocol="ratio:8-1-1",
    model=COREConfig(dim=100, blocks=1, heads=2, dropout=0.2, item_dropout=0.2, temperature=0.07, window=50),
    counters=(
        SequentialRulesConfig(power=0.75, rarity=0.1),
        replace(VSTAN, recency_scale=4.0, match_scale=2.0, nearby_scale=4.0, idf=1.0, power=0.5, rarity=0.1),
    ),
    loss=LossConfig(kind="sampled-softmax", negatives=4096, alpha=0.5),
    optimizer=OptimizerConfig(learning_rate=3e-3),
    loop=LoopConfig(epochs=9, batch_targets=1024, patience=4, threads=1, monitor="mrr@20"),
    window=50,
    exclude="none",
)
