"""Counting models: what went with what in training, added up for the items of a session.

Fitted in `training.counters`; here they are asked, with numpy alone. A session is the item rows of its events, oldest
first, row 0 where an item is not known. A counter reads the last `window` events and passes over the unknown among
them (`serving.counters.arrays.newest`), so a worker that keeps `window` events has all that a counter can ask for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from serving.counters.arrays import Rows
from serving.counters.item_rules import ItemRules, ItemRulesParameters
from serving.counters.popularity import Popularity, PopularityParameters
from serving.counters.session_knn import SessionKnn, SessionKnnParameters
from serving.counters.tensors import Tensors
from serving.counters.votes import Scores, Votes
from serving.errors import BundleError


class Counter(Protocol):
    """A counting model. What it says of a session depends on that session alone, bit for bit."""

    kind: ClassVar[str]

    @property
    def parameters(self) -> msgspec.Struct:
        """Return everything beside the tensors; `msgspec.to_builtins` makes JSON of it."""
        ...

    @property
    def window(self) -> int:
        """The number of a session's last events that are read; 0 where all sessions get the same votes."""
        ...

    def score(self, sessions: Sequence[Rows]) -> Votes:
        """Return the votes for each session: the rows of its events, 1..N, oldest first; 0 is an unknown item."""
        ...

    def tensors(self) -> Tensors:
        """Return the flat float32 and int32 arrays that a bundle keeps."""
        ...


_KINDS: dict[str, type[Popularity | ItemRules | SessionKnn]] = {
    counter.kind: counter for counter in (Popularity, ItemRules, SessionKnn)
}


def read_counter(kind: str, parameters: Mapping[str, Any], tensors: Tensors, items: int) -> Counter:
    """Return a counter from what a bundle keeps of it, for a catalogue of `items` items.

    Raises:
        BundleError: there is no such kind of counter, or its parameters and tensors do not fit together.

    """
    if kind not in _KINDS:
        raise BundleError(f"this version knows no counter {kind!r}, only {', '.join(_KINDS)}: run a newer nextclick")
    return _KINDS[kind].from_tensors(parameters, tensors, items)


__all__ = [
    "Counter",
    "ItemRules",
    "ItemRulesParameters",
    "Popularity",
    "PopularityParameters",
    "Rows",
    "Scores",
    "SessionKnn",
    "SessionKnnParameters",
    "Tensors",
    "Votes",
    "read_counter",
]
