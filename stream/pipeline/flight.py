"""What is on its way: batches whose lists are not acknowledged yet, and the states that follow from them."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from stream.contract.incoming import Incoming
from stream.metrics import Tally
from stream.pipeline.compute import ByPlace, Outcome, Place


class Flight:
    """One batch, from when its lists were handed over until its states are in the changelog.

    `arrived_at` is when its lists were acknowledged, in seconds since 1970; 0 until they are. The lists themselves and
    the records are not kept: they are with the producer, and only the states and a few figures are wanted again.
    """

    __slots__ = ("arrived_at", "ends", "states", "tally")

    def __init__(self, records: Sequence[Incoming], outcome: Outcome) -> None:
        self.states = outcome.states
        self.tally = Tally(len(records), outcome)
        self.ends = {record.partition: record.offset + 1 for record in records}
        self.arrived_at = 0.0


class Airspace:
    """The flights in the order in which they began, and the newest state of each session that is in one.

    Args:
        stored: returns a session's state from the table, by partition and key.

    """

    def __init__(self, stored: Callable[[int, bytes], bytes | None]) -> None:
        self._stored = stored
        self._states: ByPlace = {}
        self._flights: deque[Flight] = deque()
        self.events = 0
        """Events in flights that have not landed."""

    def __bool__(self) -> bool:
        return self.events > 0

    def __contains__(self, place: Place) -> bool:
        partition, key = place
        return key in self._states.get(partition, {})

    def state_of(self, partition: int, key: bytes) -> bytes | None:
        """Return a session's newest state, whether it is in the table yet or not."""
        flying = self._states.get(partition)
        stored = None if flying is None else flying.get(key)
        return self._stored(partition, key) if stored is None else stored

    def begin(self, flight: Flight) -> None:
        """Add the newest flight."""
        self._flights.append(flight)
        add(flight.states, self._states)
        self.events += flight.tally.events

    def arrivals(self) -> list[Flight]:
        """Take out the oldest flights, as far as all of them have arrived."""
        arrived: list[Flight] = []
        while self._flights and self._flights[0].arrived_at:
            arrived.append(self._flights.popleft())
        return arrived

    def land(self, flights: Iterable[Flight], states: ByPlace) -> None:
        """Forget flights whose newest states are in the table."""
        for partition, landed in states.items():
            flying = self._states.get(partition, {})
            for key, stored in landed.items():
                if flying.get(key) is stored:
                    del flying[key]
        self.events -= sum(flight.tally.events for flight in flights)

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._flights.clear()
        self.events = 0


def newest_states(flights: Iterable[Flight]) -> ByPlace:
    """Return the states that flights leave behind: of a session that is in several, the newest."""
    states: ByPlace = {}
    for flight in flights:
        add(flight.states, states)
    return states


def add(newer: ByPlace, states: ByPlace) -> None:
    """Put newer states over those that are there."""
    for partition, found in newer.items():
        if partition in states:
            states[partition].update(found)
        else:
            states[partition] = found.copy()
