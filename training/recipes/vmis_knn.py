"""VMIS-kNN (Serenade, SIGMOD 2022) alone: the sessions most like this one vote. Nothing to train, ready in seconds.

data      any; measured on serenade-sample (113,601 training clicks) and rsc15-100k (53,254)
protocol  next-item: the data's own test and validation files, else the last tenth of the sessions; on serenade-sample
          the current item is left out, on rsc15-100k nothing is; items that training does not know are misses
figures   MRR@20 as it is on serenade-sample's test (927 predictions): .336; there is no seed. With what 100 trials of
          `nextclick tune` chose on the validation file, of three seeds: .348 .347 .345 there, .351 .350 .351 on
          rsc15-100k's test (10,068); the recipes serenade_sample and rsc15_100k are .030 to .046 and .0076 to .0082
          higher (docs/accuracy.md)
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
