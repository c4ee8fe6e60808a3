"""MovieLens-1M, leave-one-out: users' whole histories."""

from training.counters import SequentialRulesConfig
from training.loop import LoopConfig
from training.losses import LossConfig
from training.models import LiGRConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="ml1m",
    protocol="leave-one-out",
    model=LiGRConfig(dim=64, blocks=2, heads=2, dropout=0.25, temperature=None, window=200),
    counters=(SequentialRulesConfig(decay=0.7, window=20, followers=300, power=0.5, rarity=0.1),),
    loss=LossConfig(kind="softmax"),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    loop=LoopConfig(epochs=44, batch_targets=3200, patience=12, threads=1, monitor="ndcg@20"),
    window=200,
    exclude="seen",
)
