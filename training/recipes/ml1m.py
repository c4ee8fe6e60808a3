"""MovieLens-1M, leave-one-out: gated attention over users' whole histories, blended with sequential rules.

data      ml-1m.txt, the 5-core file (999,611 clicks, 6,040 users, 3,416 items); it is in order, without times
protocol  leave-one-out (antklen's: the last click of a user is the test, the one before the validation, and neither is
          learned from; no refit); what a user has seen is left out of the lists
figures   HR@10 / NDCG@10 of three seeds: encoder alone .321/.187 .321/.187 .321/.188, blend .336/.200 .335/.198
          .336/.199; NDCG@20 of validation: encoder .222 .221 .223, blend .235 .234 .235
          sequential rules alone: .299/.177; a second counter beside them (item kNN, VSTAN, popularity, longer or
          shorter rules) adds at most .001 to the blend's NDCG@20 on validation
time      34 minutes of one of two busy cores
seeds     1, 2, 3; tried out on 0
verified  2026-11-23, torch 2.15.0 on CPU
command   nextclick train ml1m --data ml-1m/ml-1m.txt.gz --seed 0 --out bundles/ml1m
"""

from training.account import LoopConfig
from training.counters import SequentialRulesConfig
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

SPACE = {
    "optimizer.learning_rate": "5e-4..4e-3:log",
    "model.dropout": "0.1..0.4",
    "model.heads": "1|2|4",
    "model.blocks": "2|3",
    "loop.batch_targets": "1600|3200|6400",
    "counters.0.steps": "5..30",
    "counters.0.decay": "0.5..0.9",
    "counters.0.followers": "100..500",
    "counters.0.power": "0.3..1",
    "counters.0.rarity": "0..0.3",
}
