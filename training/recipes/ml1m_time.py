"""MovieLens-1M with the time of each query known: what an encoder gains from it. No worker can serve such a bundle.

data      ml1m_events.csv (1,000,209 clicks, 6,040 users, 3,706 items), with the times of 80 % of the clicks exact
protocol  leave-one-out-exact: all users train, tested are those whose times are exact (users 1-2999 and four others);
          what a user has seen is left out
figures   HR@10 / NDCG@10 of three seeds (3,003 users): .375/.227 .380/.233 .372/.227; RecTools' HSTU of two blocks,
          trained once on the same clicks: .315/.182; NDCG@10 of ours is above it by .045 .051 .044, 95 % of the
          bootstrap over users from .036 to .059
          NDCG@20 of validation: .263 .265 .268
          --set model.time_of=last --set loop.epochs=16 (times up to the last click, which a worker serves; 14 minutes):
          .341/.204 .337/.202 .341/.203, above RecTools' HSTU by .021 .019 .021, from .012 to .029
time      37 minutes of one of two busy cores
seeds     1, 2, 3; tried out on 0
verified  2026-11-23, torch 2.15.0 on CPU
command   nextclick train ml1m_time --data ml-1m/ml1m_events.csv.gz --seed 0 --out bundles/ml1m-time
"""

from training.account import LoopConfig
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

SPACE = {
    "optimizer.learning_rate": "5e-4..4e-3:log",
    "model.dropout": "0.1..0.4",
    "model.heads": "1|2|4",
    "model.blocks": "2|3",
}
