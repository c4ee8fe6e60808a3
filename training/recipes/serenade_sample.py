"""Any click log in about a minute: what the demo trains.

data      any; `nextclick generate`'s shop (100,000 clicks) and serenade-sample (113,601) are what it was tuned for
protocol  next-item: the last tenth of the sessions are for tests, a tenth of the rest for validation, unless the
          data comes split; lists leave out the current item
command   nextclick train quick --data shop.jsonl --seed 0 --out bundles/shop

Figures: see `serenade_sample`, which is the same recipe for longer.
"""

from training.loop import LoopConfig
from training.losses import LossConfig
from training.models import GRUConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="serenade_sample",
    model=GRUConfig(dim=100, hidden=100, dropout=0.3, temperature=0.07),
    loss=LossConfig(negatives=1024, alpha=0.5),
    optimizer=OptimizerConfig(learning_rate=3e-3),
    # One-cycle ends low: the last epochs are the best, so patience only guards against a data set that overfits.
    loop=LoopConfig(epochs=8, batch_targets=256, patience=4),
    window=50,
)
