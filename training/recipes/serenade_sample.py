"""bol.com's sample of clicks (Serenade, SIGMOD 2022): a GRU blended with sequential rules and session kNN (VSTAN).

data      serenade-sample (https://github.com/bolcom/serenade): 113,601 training clicks, 23,753 sessions, 18,009 items
protocol  next-item with its own files: trained on train, chosen on valid, tested on the whole of test (927
          predictions); the current item is left out; items that training does not know are misses
figures   Recall@20 / MRR@20 of three seeds: blend .711/.387 .699/.377 .701/.391, encoder alone .687/.342 .676/.321
          .676/.338, counters alone .674/.374; the blend's MRR@20 is above that of a VMIS-kNN tuned by 100 trials by
          .040 .030 .046, 95 % of the bootstrap over sessions from .016 to .062
          validation (1,115): blend .739/.370 .729/.368 .734/.372, encoder .715/.337 .705/.343 .708/.345, counters
          .688/.354; the counters' parameters were searched on the last days of train, which no later row may test
time      70 s of one core
seeds     1, 2, 3; tried out on 0
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
