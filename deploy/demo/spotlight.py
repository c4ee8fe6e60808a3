"""Which visitor the demo follows: one after the other, each while clicks of theirs are still to come."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.events import Click, Recommendation

MIN_CLICKS = 4
SHOWN_CLICKS = 6
SHOWN_ITEMS = 8


def followed_sessions(clicks: Sequence[Click]) -> list[str]:
    """Choose sessions to follow in turn: of at least `MIN_CLICKS` clicks, the next to end after the one before began.

    Interval scheduling by the earliest end: it fits the most sessions into the replay without two at a time.
    """
    spans: dict[str, list[int]] = {}
    for position, click in enumerate(clicks):
        spans.setdefault(click.session_id, []).append(position)
    chosen: list[str] = []
    free = -1
    for session_id, positions in sorted(spans.items(), key=lambda item: item[1][-1]):
        if len(positions) >= MIN_CLICKS and positions[0] > free:
            chosen.append(session_id)
            free = positions[-1]
    return chosen


@dataclass
class Followed:
    """One session as the demo shows it: its last clicks, the list now, and which of its items are new in it."""

    session_id: str
    clicked: list[str] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    new: frozenset[str] = frozenset()
    milliseconds: float = 0.0


class Spotlight:
    """Follows the chosen sessions as their lists come in."""

    def __init__(self, clicks: Sequence[Click]) -> None:
        self._item_of = {click.event_id: click.item_id for click in clicks}
        self._waiting = followed_sessions(clicks)
        self._chosen = frozenset(self._waiting)
        self.now: Followed | None = None

    def received(self, recommendation: Recommendation, milliseconds: float) -> None:
        """Take a list in, if it is for a session that is followed."""
        if recommendation.session_id not in self._chosen:
            return
        now = self.now
        if now is None or now.session_id != recommendation.session_id:
            now = Followed(recommendation.session_id)
        item_id = self._item_of.get(recommendation.trigger_event_id, "?")
        listed = [item.item_id for item in recommendation.items]
        self.now = Followed(
            session_id=now.session_id,
            clicked=[*now.clicked, item_id][-SHOWN_CLICKS:],
            hits=[*now.hits, item_id in now.listed][-SHOWN_CLICKS:],
            listed=listed,
            new=frozenset(listed[:SHOWN_ITEMS]) - frozenset(now.listed[:SHOWN_ITEMS]),
            milliseconds=milliseconds,
        )
