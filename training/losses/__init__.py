"""Losses: how far a session vector is from preferring the true next item over the others.

All are means over targets. The loop picks the targets out by an explicit mask before it calls, so a position without
a target neither costs nor counts, and a perfectly predicted one still counts.
"""

from training.losses.config import LossConfig
from training.losses.loss import Loss

__all__ = ["Loss", "LossConfig"]
