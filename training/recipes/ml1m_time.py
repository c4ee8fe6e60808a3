"""MovieLens-1M with the time of each query known: what an encoder gains from it. No worker can serve it."""

from training.loop import LoopConfig
from training.losses import LossConfig
from training.models import HSTUConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="ml1m_time",
    protocol="leave-one-out-exact",
    model=HSTUConfig(dim=64, blocks=2, heads=2, dropout=0.25, temperature=None, window=200, time_of="query"),
    loss=LossConfig(kind="softmax"),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    loop=LoopConfig(epochs=44, batch_targets=3200, patience=12, threads=1, monitor="ndcg@20"),
    window=200,
    exclude="seen",
)
