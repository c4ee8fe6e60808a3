"""DIGINETICA, CORE's split: sessions of a shop, a weighted mean of their items blended with rules and neighbours.

data      ADER's 17 weeks joined in file order (993,483 clicks, 204,789 sessions, 43,136 items; they were filtered by
          item support over all weeks together)
protocol  ratio:8-1-1 (CORE's: 80/10/10 of the sessions, no refit; items that training does not know are dropped, then
          sessions of one click; every prefix is predicted; nothing is left out of the lists)
figures   Recall@20 / MRR@20 of three seeds (76,601 predictions): encoder alone .531/.187 .530/.187 .531/.186, counters
          alone .510/.186, blend .538/.191 .537/.191 .537/.190
          validation: encoder .530/.190 .534/.191 .531/.191, blend (10,000 of 75,996) .535/.195 .534/.196 .535/.197
          tried on seed 0's validation: without dropout on what is scored .531/.190, with .4 of it .529/.189; the blend
          fitted to HR, or with item kNN as a third counter, gains nothing
          --set protocol=last-week, chosen on week 15 and trained once more on weeks 0 to 15 (60,926 predictions): blend
          .558/.195 .555/.194 .557/.195, counters alone .534/.189; validation of the blend .553/.200 .554/.200 .555/.199
time      11 minutes of one of two busy cores
seeds     1, 2, 3; tried out on 0
verified  2026-11-23, torch 2.15.0 on CPU
command   nextclick train diginetica --data diginetica-weeks --seed 0 --out bundles/diginetica
"""

from dataclasses import replace

from training.account import LoopConfig
from training.counters import VSTAN, SequentialRulesConfig
from training.losses import LossConfig
from training.models import COREConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe

RECIPE = Recipe(
    name="diginetica",
    protocol="ratio:8-1-1",
    model=COREConfig(
        dim=100, blocks=1, heads=2, dropout=0.2, item_dropout=0.2, scored_dropout=0.2, temperature=0.07, window=50
    ),
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

SPACE = {
    "optimizer.learning_rate": "1e-3..1e-2:log",
    "model.dropout": "0.1..0.5",
    "model.item_dropout": "0..0.5",
    "model.scored_dropout": "0..0.4",
    "model.temperature": "0.04..0.1",
    "model.blocks": "1|2",
    "loss.alpha": "0..1",
    "counters.0.power": "0.5..1",
    "counters.0.rarity": "0..0.3",
    "counters.1.recency_scale": "1..8:log",
    "counters.1.match_scale": "1..8:log",
    "counters.1.nearby_scale": "1..8:log",
    "counters.1.idf": "0..8",
    "counters.1.power": "0.3..1.5",
    "counters.1.rarity": "0..0.3",
}
