"""What happens in a round, drawn from the seed: the same seed and number give the same round."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.end_to_end.chaos.faults import FAULTS, Fault

TWO_FAULTS = 0.5


@dataclass(frozen=True)
class Plan:
    """One round.

    `static` is static membership of the group, `store` where the workers keep their sessions.
    """

    seed: int
    number: int
    faults: tuple[str, ...]
    workers: int
    batch_max_events: int
    static: bool
    store: str

    def rng(self, purpose: str) -> random.Random:
        """Return this round's random numbers for a purpose."""
        return random.Random(f"{self.seed}/{self.number}/{purpose}")

    def __str__(self) -> str:
        how = f"{self.workers} worker{'s' * (self.workers > 1)}, batches of {self.batch_max_events}, {self.store}"
        return f"round {self.number}: {' + '.join(self.faults)} ({how}{', static members' * self.static})"


def plans(seed: int, names: Sequence[str]) -> Iterator[Plan]:
    """Give the rounds of a seed, without end.

    Faults are drawn like cards from a deck that is shuffled again only when it is empty, so that each comes as often as
    the others. About half of the rounds have two of them at a time.
    """
    rng = random.Random(seed)
    deck: list[str] = []
    for number in itertools.count(1):
        if not deck:
            deck = rng.sample(names, len(names))
        faults = [deck.pop()]
        if rng.random() < TWO_FAULTS and deck and FAULTS[faults[0]].fits(FAULTS[deck[-1]]):
            faults.append(deck.pop())
        yield _plan(rng, seed, number, [FAULTS[name] for name in faults])


def _plan(rng: random.Random, seed: int, number: int, faults: Sequence[Fault]) -> Plan:
    rocksdb = any(fault.needs_disk for fault in faults) or rng.random() < 0.25
    least = max(fault.workers for fault in faults) + (
        len(faults) > 1 and any(fault.name == "leave" for fault in faults)
    )
    return Plan(
        seed=seed,
        number=number,
        faults=tuple(fault.name for fault in faults),
        workers=max(rng.choice((1, 2, 2, 3)), least),
        batch_max_events=rng.choice((16, 256, 256, 2_000)),
        static=rng.random() < 0.25,
        store="rocksdb" if rocksdb else "memory",
    )
