"""100,000 clicks of Yoochoose (RecSys Challenge 2015), session-rec's sample: a GRU blended with rules and VSTAN.

data      rsc15-100k: train_tr (53,254 clicks), train_valid (16,539), test (13,568)
protocol  next-item with its own files: trained on train_tr, chosen on train_valid, tested on test (10,068
          predictions), without a refit; the current item may come again; items that training does not know are misses
figures   Recall@20 / MRR@20 of three seeds: blend .645/.358 .650/.358 .646/.358, encoder alone .639/.352 .642/.352
          .645/.351, counters alone .625/.355; the blend's MRR@20 is above that of a VMIS-kNN tuned by 100 trials by
          .0078 .0082 .0076, 95 % of the bootstrap over sessions from .0057 to .0102
          validation: blend .681/.377 .681/.377 .683/.378 (10,000 clicks), encoder .672/.364 .671/.366 .673/.365
time      70 s of one core
seeds     1, 2, 3; tried out on 0
verified  2026-11-23, torch 2.15.0 on CPU
command   nextclick train rsc15_100k --data rsc15-100k --seed 0 --out bundles/rsc15
          nextclick evaluate bundles/rsc15 --data rsc15-100k --exclude none (else the current item is left out)
"""

from dataclasses import replace

from training.account import LoopConfig
from training.blend import BlendConfig
from training.counters import VSTAN, SequentialRulesConfig
from training.losses import LossConfig
from training.models import GRUConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe
from training.recipes.spaces import GRU_SPACE, RULES_AND_VSTAN_SPACE

RECIPE = Recipe(
    name="rsc15_100k",
    model=GRUConfig(dim=100, hidden=100, dropout=0.3, temperature=0.07),
    counters=(
        SequentialRulesConfig(),
        replace(VSTAN, sample=1000, recency_scale=0.5, nearby_scale=8.0, power=0.5, half_life_days=20.0),
    ),
    blend=BlendConfig(monitor="mrr"),
    loss=LossConfig(kind="sampled-softmax", negatives=1024, alpha=0.5),
    optimizer=OptimizerConfig(learning_rate=5e-3),
    loop=LoopConfig(epochs=12, batch_targets=512, patience=4, threads=1),
    window=50,
    exclude="none",
)

SPACE = GRU_SPACE | RULES_AND_VSTAN_SPACE
