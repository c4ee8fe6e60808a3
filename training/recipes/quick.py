"""Any click log in about a minute: what the demo trains.

data      any; tuned on the validation part of serenade-sample (113,601 clicks), tried on `nextclick generate`'s shop
          (105,340 clicks, 1,000 items)
protocol  next-item: the data's own test and validation files, else the last tenth of the sessions for tests and a tenth
          of the rest for validation; the current item is left out; items that training does not know are misses
figures   Recall@20 / MRR@20 of three seeds, and of sequential rules (SR) fitted on the same clicks
          serenade-sample, first 1,000 test clicks (752 predictions): .723/.338 .719/.332 .731/.341    SR .608/.284
          serenade-sample, whole test (927): .701/.322 .690/.313 .702/.324                             SR .586/.271
          shop, last tenth (9,167): .667/.232 .666/.233 .671/.232          SR .445/.158, last-item Markov .502/.177
time      50 s of one core for serenade-sample, 46 s for the shop, from reading the clicks to the bundle
seeds     0, 1, 2
verified  2026-11-22, torch 2.15.0 on CPU
command   nextclick train quick --data shop.jsonl --seed 0 --out bundles/shop
"""

from training.account import LoopConfig
from training.losses import LossConfig
from training.models import GRUConfig
from training.optimizer import OptimizerConfig
from training.recipes.recipe import Recipe
from training.recipes.spaces import GRU_SPACE

RECIPE = Recipe(
    name="quick",
    model=GRUConfig(dim=100, hidden=100, dropout=0.3, temperature=0.07),
    loss=LossConfig(kind="sampled-softmax", negatives=1024, alpha=0.5),
    optimizer=OptimizerConfig(learning_rate=5e-3),
    # One thread: two save a quarter of the time on two idle cores, but wait for each other ten times as long as they
    # compute when another process wants a core. The schedule ends low, so the last epochs are the best, and patience
    # only guards against data that overfit.
    loop=LoopConfig(epochs=12, batch_targets=512, patience=4, threads=1),
    window=50,
)

SPACE = GRU_SPACE
