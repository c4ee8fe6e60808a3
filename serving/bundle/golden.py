"""Golden sessions: a few real sessions and the lists that the bundle gave when it was made.

A bundle that does not give them any more was built for another runtime, or something in it does not fit together.
"""

from collections.abc import Sequence

import msgspec

from serving.bundle.contents import Bundle
from serving.control import Control
from serving.errors import BundleError
from serving.events import Click
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.settings import ServingSettings

GOLDEN = "golden.json"
# Another CPU sums in another order: float32 keeps seven digits of a score, of which the last two may differ.
TOLERANCE = 1e-4


class GoldenSession(msgspec.Struct, frozen=True):
    """A session, and the list after its last click, made with the default settings."""

    session: list[str]
    source: str
    item_ids: list[str]
    scores: list[float]


def golden_lists(bundle: Bundle, sessions: Sequence[Sequence[str]]) -> list[GoldenSession]:
    """Return the sessions with the lists that the bundle gives now."""
    if not sessions:
        return []
    settings = ServingSettings(session_length=max(100, bundle.window))
    recommender = Recommender(bundle, settings)
    golden = []
    for i, session in enumerate(sessions):
        clicks = [
            Sourced(Click(event_id=str(n), session_id=str(i), item_id=item_id, timestamp_ms=n), n, n)
            for n, item_id in enumerate(session)
        ]
        served = process({}, clicks, recommender, Control()).lists[-1].recommendation
        golden.append(
            GoldenSession(
                list(session),
                served.source,
                [item.item_id for item in served.items],
                [item.score for item in served.items],
            )
        )
    return golden


def check_golden(bundle: Bundle, expected: Sequence[GoldenSession]) -> None:
    """Compare the lists that the bundle gives now with those that it stores.

    Raises:
        BundleError: a list differs by more than another CPU's rounding.

    """
    found = golden_lists(bundle, [golden.session for golden in expected])
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
