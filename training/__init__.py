"""Data sets, models, losses, the training loop, evaluation, and the bundles that they end in."""
