"""VMIS-kNN (Serenade, SIGMOD 2022) alone: the sessions most like this one vote. Nothing to train, ready in seconds.

data      any; measured on serenade-sample (113,601 training clicks) and rsc15-100k (53,254)
protocol  next-item: the data's own test and validation files, else the last tenth of the sessions; on serenade-sample
          the current item is left out, on rsc15-100k nothing is; items that training does not know are misses
figures   MRR@20; there is no seed. serenade-sample's test (927 predictions): .337, and .345 with what 40 trials of
          `nextclick tune` chose on its validation file (window 4, 50 neighbours of 461, idf 2.6, cosine). rsc15-100k's
          test (10,068): .350 (40 trials: window 2, 61 neighbours of 3,902, idf .62, reciprocal)
          against these tuned ones the recipes serenade_sample and rsc15_100k are .032 to .042 and .0078 to .0081 higher
          on three seeds, 95 % of the bootstrap over sessions from .018 and .0059 on
time      a second
verified  2026-11-23 on CPU
command   nextclick train vmis_knn --data serenade-sample --out bundles/vmis
"""

from training.blend import BlendConfig
from training.counters import VMIS_KNN
from training.recipes.recipe import Recipe

RECIPE = Recipe(name="vmis_knn", counters=(VMIS_KNN,), blend=BlendConfig(monitor="mrr"))

SPACE = {
    "counters.0.window": "2..15",
    "counters.0.neighbours": "50..1500:log",
    "counters.0.sample": "100..5000:log",
    "counters.0.idf": "0..8",
    "counters.0.match": "same|linear|reciprocal",
    "counters.0.similarity": "dot|cosine",
}
