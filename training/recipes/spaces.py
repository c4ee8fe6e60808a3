"""Spaces that several recipes search: the keys of `--set`, each with its SPEC (`training.tune.specs`)."""

GRU_SPACE = {
    "optimizer.learning_rate": "1e-3..1e-2:log",
    "model.dim": "64|100|128",
    "model.hidden": "64|100|128",
    "model.dropout": "0.1..0.5",
    "model.temperature": "0.03..0.1",
    "loss.negatives": "512|1024|2048",
    "loss.alpha": "0..1",
}
"""A GRU with sampled negatives."""

RULES_AND_VSTAN_SPACE = {
    "counters.0.steps": "2..15",
    "counters.0.decay": "0.3..0.9",
    "counters.0.power": "0.5..1",
    "counters.0.rarity": "0..0.3",
    "counters.1.neighbours": "100|200|500|1000",
    "counters.1.sample": "500|1000|2500",
    "counters.1.recency_scale": "0.5..8:log",
    "counters.1.match_scale": "0.5..8:log",
    "counters.1.nearby_scale": "1..8:log",
    "counters.1.idf": "0..8",
    "counters.1.power": "0.5..1.5",
    "counters.1.rarity": "0..0.3",
}
"""Sequential rules, then VSTAN, for sessions of a shop."""
