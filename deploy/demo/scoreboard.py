"""What the demo counts: clicks out, lists back, how long each took, and whether the lists were any good.

It sees what any producer and consumer of the two topics see, and nothing of the worker.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.events import Click, Recommendation

# Hit rates are stated for this length, the default list's.
K = 20


@dataclass(frozen=True)
class Standing:
    """The figures at one moment. Times are milliseconds, None before the first list."""

    sent: int
    received: int
    """Lists read, copies included."""
    distinct: int
    """Distinct recommendation ids."""
    answered: int
    """Clicks that have a list."""
    cases: int
    hit_rates: dict[str, float]
    latency_ms: dict[str, float | None]


class Scoreboard:
    """Matches lists to clicks; called by the sending and by the reading thread.

    Args:
        clicks: what is going to be replayed, in order; each event id once.
        rivals: for each rival's name, the event ids of the clicks that its list, made from the session's clicks
            before, would have held.

    """

    def __init__(self, clicks: Sequence[Click], rivals: Mapping[str, frozenset[str]]) -> None:
        self._lock = threading.Lock()
        self._clicks = {click.event_id: click for click in clicks}
        self._before = _previous_events(clicks)
        self._rivals = rivals
        self._sent_at: dict[str, float] = {}
        self._shown: dict[str, list[str]] = {}
        self._received = 0
        self._ids: set[str] = set()
        self._latencies_s: list[float] = []
        self._cases = 0
        self._hits = dict.fromkeys(["nextclick", *rivals], 0)

    def sent(self, click: Click, at_s: float) -> None:
        """Note that a click is being sent now, `at_s` on a monotonic clock."""
        with self._lock:
            self._sent_at[click.event_id] = at_s

    def received(self, recommendation: Recommendation, at_s: float) -> None:
        """Note a list that was read, `at_s` on the same clock."""
        event_id = recommendation.trigger_event_id
        with self._lock:
            self._received += 1
            self._ids.add(recommendation.recommendation_id)
            if event_id in self._shown or event_id not in self._clicks:
                return
            self._shown[event_id] = [item.item_id for item in recommendation.items[:K]]
            if event_id in self._sent_at:
                self._latencies_s.append(at_s - self._sent_at[event_id])
            self._score(event_id)

    def _score(self, event_id: str) -> None:
        """Score the list that was shown before this click, and what the rivals would have shown."""
        before = self._before.get(event_id)
        if before is None or before not in self._shown:
            return
        self._cases += 1
        self._hits["nextclick"] += self._clicks[event_id].item_id in self._shown[before]
        for name, hits in self._rivals.items():
            self._hits[name] += event_id in hits

    def standing(self) -> Standing:
        """Return the figures now."""
        with self._lock:
            latencies_s = np.array(self._latencies_s)
            return Standing(
                sent=len(self._sent_at),
                received=self._received,
                distinct=len(self._ids),
                answered=len(self._shown),
                cases=self._cases,
                hit_rates={name: hits / max(self._cases, 1) for name, hits in self._hits.items()},
                latency_ms={
                    f"p{p}": round(float(np.percentile(latencies_s, p)) * 1000, 3) if len(latencies_s) else None
                    for p in (50, 95, 99)
                },
            )


def _previous_events(clicks: Sequence[Click]) -> dict[str, str]:
    """Return, for each click that is not its session's first, the event before it in the session."""
    newest: dict[str, str] = {}
    before: dict[str, str] = {}
    for click in clicks:
        if click.session_id in newest:
            before[click.event_id] = newest[click.session_id]
        newest[click.session_id] = click.event_id
    return before
