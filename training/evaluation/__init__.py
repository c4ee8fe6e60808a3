"""Ranking quality over the full catalogue: protocols, baselines, dense and served figures, one table."""
