"""Golden sessions: a few real sessions and the lists that the bundle gave when it was made.

A bundle that does not give them any more was built for another runtime, or something in it does not fit together.
They are played with the types and times of their events, for encoders that read types, silences or ages.
"""

import math
from collections.abc import Sequence

from serving.bundle.contents import Bundle, GoldenEvents
from serving.control import Control
from serving.errors import BundleError
from serving.events import Click
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.settings import ServingSettings

GOLDEN = "golden.json"
# Another CPU sums in another order: float32 keeps seven digits of a score, of which the last two may differ.
TOLERANCE = 1e-4


class GoldenSession(GoldenEvents, frozen=True, kw_only=True):
    """A session, and the list after its last event, made with the default settings, and no gap that ends it."""

    source: str
    item_ids: list[str]
    scores: list[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.item_ids) != len(self.scores):
            raise ValueError(f"a list of {len(self.item_ids)} items, {len(self.scores)} scores")


def golden_lists(bundle: Bundle, sessions: Sequence[GoldenEvents]) -> list[GoldenSession]:
    """Return the sessions with the lists that the bundle gives now."""
    if not sessions:
        return []
    settings = ServingSettings(session_length=max(100, bundle.window), session_gap_s=math.inf)
    recommender = Recommender(bundle, settings)
    golden = []
    for session in sessions:
        served = process({}, _clicks(session), recommender, Control()).lists[-1].recommendation
        golden.append(
            GoldenSession(
                items=session.items,
                types=session.types,
                times=session.times,
                source=served.source,
                item_ids=[item.item_id for item in served.items],
                scores=[item.score for item in served.items],
            )
        )
    return golden


def _clicks(session: GoldenEvents) -> list[Sourced]:
    events = zip(session.items, session.types, session.times, strict=True)
    return [
        Sourced(Click(event_id=str(n), session_id="golden", item_id=item, timestamp_ms=at, event_type=kind), n, at)
        for n, (item, kind, at) in enumerate(events)
    ]


def check_golden(bundle: Bundle, expected: Sequence[GoldenSession]) -> None:
    """Compare the lists that the bundle gives now with those that it stores.

    Raises:
        BundleError: a list differs by more than another CPU's rounding, or there are none to compare.

    """
    needs = bundle.manifest.needs
    if bool(needs) == bool(expected):
        wanted = f"none, for a bundle that needs {', '.join(needs)}" if needs else "one or more, to prove its parts by"
        raise BundleError(
            f"{bundle.directory / GOLDEN} holds {len(expected)} golden sessions, expected {wanted}: train it again"
        )
    found = golden_lists(bundle, expected)
    for number, (want, got) in enumerate(zip(expected, found, strict=True)):
        if not _agree(want, got):
            raise BundleError(
                f"{bundle.directory / GOLDEN}: golden session {number} gives {got.source} list {got.item_ids[:3]}..., "
                f"expected {want.source} list {want.item_ids[:3]}...; the bundle's parts do not belong together, or "
                "its runtime changed: train it again"
            )


def _agree(want: GoldenSession, got: GoldenSession) -> bool:
    """Tell whether each expected item is there with its score; the last place may go to one that scores the same."""
    if want.source != got.source or len(want.scores) != len(got.scores):
        return False
    score_of = dict(zip(got.item_ids, got.scores, strict=True))
    return all(
        abs(score - score_of.get(item_id, got.scores[-1])) <= TOLERANCE * max(1.0, abs(score))
        for item_id, score in zip(want.item_ids, want.scores, strict=True)
    )
