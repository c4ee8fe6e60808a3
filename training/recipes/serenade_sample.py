"""bol.com's sample of clicks (Serenade, SIGMOD 2022): a GRU blended with sequential rules and session kNN (VSTAN).

data      serenade-sample (https://github.com/bolcom/serenade): 113,601 training clicks, 23,753 sessions, 18,009 items
protocol  next-item with its own files: trained on train, chosen on valid, tested on the whole of test (927
          predictions); the current item is left out; items that training does not know are misses
figures   Recall@20 / MRR@20 of three seeds: blend .717/.385 .711/.387 .699/.377, encoder alone .672/.327 .687/.342
          .676/.321, counters alone .674/.374; ties count against the model
          validation (1,115): blend .732/.368 .739/.370 .729/.368, encoder .707/.342 .715/.337 .705/.343, counters
          .688/.354; the counters' parameters were searched on the last days of train
time      70 s of one core
seeds     0, 1, 2
verified  2026-11-23, torch 2.15.0 on CPU
command   nextclick train serenade_sample --data serenade-sample --seed 0 --out bundles/serenade
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
    name="serenade_sample",
    model=GRUConfig(dim=100, hidden=100, dropout=0.3, temperature=0.05),
    counters=(
        SequentialRulesConfig(),
        replace(VSTAN, neighbours=200, sample=1000, recency_scale=4.0, match_scale=4.0, nearby_scale=1.0, rarity=0.2),
    ),
    blend=BlendConfig(monitor="mrr"),
    loss=LossConfig(kind="sampled-softmax", negatives=2048, alpha=0.75),
    optimizer=OptimizerConfig(learning_rate=5e-3),
    loop=LoopConfig(epochs=16, batch_targets=512, patience=5, threads=1),
    window=50,
)

SPACE = GRU_SPACE | RULES_AND_VSTAN_SPACE | {"loss.negatives": "1024|2048|4096"}
