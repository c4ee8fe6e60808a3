"""nextclick's work for one click, as a plain function, for frameworks that call one: the same state, the same list.

What a service like this costs on another framework is the framework's part and this. It is nextclick's own code of
`serving`, without what nextclick does for whole batches: decode the click, read the session's state, fold the click
into it, score the list shown before, write the list that answers it (one of a thousand prepared ones, as from
`null_worker`), write the state.
"""

import msgspec

from serving.events import ListedRecommendation, decode_click, encode_recommendation, recommendation_id
from serving.session import Carried, SessionState, as_line, decode_state, encode_state
from tests.benchmarks.systems.work import Work

BUNDLE = "0123456789abcdef"
REVISION = "0"
# As in the settings of `serving`.
LENGTH, GAP_MS = 100, 1_800_000


class Prepared(msgspec.Struct, frozen=True):
    """A list before it gets its ids: its items in JSON, and which they are, in lines."""

    items: msgspec.Raw
    shown: str


class Job(Work):
    """Prepared lists, and what an encoder would leave in a state."""

    lists: list[Prepared]
    carried: bytes
    hits: int = 0
    turn: int = 0

    def handle(self, value: bytes, stored: bytes | None) -> tuple[bytes, bytes]:
        click = decode_click(value)
        state = SessionState() if stored is None else decode_state(stored)
        state.fold(click, click.timestamp_ms, LENGTH, GAP_MS)
        self.hits += as_line(click.item_id) in state.last_list
        self.turn = turn = (self.turn + 1) % len(self.lists)
        prepared = self.lists[turn]
        state.last_list, state.last_list_bundle = prepared.shown, BUNDLE
        state.carried = [Carried(BUNDLE, 0, self.carried)]
        identity = recommendation_id(click.session_id, click.event_id, BUNDLE, REVISION)
        answer = ListedRecommendation(
            identity,
            click.session_id,
            click.event_id,
            BUNDLE,
            REVISION,
            click.timestamp_ms,
            "encoder",
            prepared.items,
        )
        return encode_state(state), encode_recommendation(answer)
