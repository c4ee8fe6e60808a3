"""Ranking quality over the full catalogue: protocols, scorers, dense and served figures, one table."""
