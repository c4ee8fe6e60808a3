"""What a figure depends on beside model and data."""

from dataclasses import dataclass
from typing import Any, Literal

from serving.errors import WrongUse
from serving.settings import Exclude
from training.checks import at_least
from training.data.protocol import Conventions, Protocol, Unknown
from training.evaluation.bootstrap import RESAMPLES
from training.evaluation.case_ranks import Over

Through = Literal["auto", "served", "dense"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of an evaluation; every row of a report carries them. None takes what the protocol implies."""

    protocol: Protocol
    exclude: Exclude | None = None
    unknown: Unknown | None = None
    """Clicks on items that training has not seen are misses, as they are live, or dropped before anything else."""
    min_session_length: int | None = None
    ks: tuple[int, ...] = (20,)
    """Where the metrics are cut; the lists are as long as the largest."""
    through: Through = "auto"
    """`served`: the lists that a worker would show; `dense`: all scores of an encoder, ties against the model. `auto`
    takes `served`, but for bundles that no worker can serve."""
    cold_below: int = 5
    """Items with fewer training clicks are cold, those without any included."""
    over: Over = "sessions"
    """What the bootstrap draws."""
    resamples: int = RESAMPLES
    seed: int = 0
    """The bootstrap's seed."""

    def __post_init__(self) -> None:
        if not self.ks:
            raise WrongUse("no k is named: name at least one, such as 20")
        at_least(1, k=min(self.ks), min_session_length=self.counted.min_session_length)
        at_least(1, resamples=self.resamples)

    @property
    def counted(self) -> Conventions:
        """The protocol's conventions, with what these terms say otherwise."""
        own = self.protocol.conventions
        unknown = self.unknown or own.unknown
        shortest = self.min_session_length
        if shortest is None:
            # What is left of a session without its unknown items may be one click, of which nothing is predicted.
            shortest = max(own.min_session_length, 2 if unknown == "drop" else 1)
        return Conventions(exclude=self.exclude or own.exclude, unknown=unknown, min_session_length=shortest)

    @property
    def k(self) -> int:
        """The length of the lists."""
        return max(self.ks)

    def describe(self) -> dict[str, Any]:
        """Return the terms as plain values, for a row of a report."""
        return {
            "protocol": str(self.protocol),
            "exclude": self.counted.exclude,
            "unknown_items": self.counted.unknown,
            "min_session_length": self.counted.min_session_length,
            "k": list(self.ks),
        }
