"""Clicks for benchmarks, and lists and states as large as real ones; the same for the same seed."""

import random
from collections.abc import Iterator
from functools import cache

from serving.events import Click, Reason, Recommendation, RecommendedItem, encode_click, encode_recommendation
from serving.session import Carried, Interaction, SessionState, encode_state
from tests.benchmarks.systems.blobs import COUNT, Blobs

SEED = 4
SESSIONS = 10_000
ITEMS = 5_000
STATE_BYTES = 1_536
# Long after the newest session's gap: nothing expires while it is measured.
START_MS = 1_780_000_000_000


@cache
def item_ids() -> list[str]:
    """Return ids of 24 hexadecimal digits, as MongoDB gives them."""
    choose = random.Random(SEED)
    return [_hex(choose, 96) for _ in range(ITEMS)]


def clicks(events: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of clicks: items taken at random, of sessions taken at random."""
    choose, items = random.Random(SEED), item_ids()
    for number in range(events):
        session = f"session-{choose.randrange(SESSIONS):06d}"
        click = Click(f"event-{number:08d}", session, choose.choice(items), START_MS + number)
        yield session.encode(), encode_click(click)


def blobs(count: int = 1_000) -> Blobs:
    """Return what the systems beside nextclick write."""
    choose = random.Random(SEED)
    lists, states = [_list(choose) for _ in range(count)], [_state(choose) for _ in range(count)]
    return Blobs(lists, [state[COUNT.size :] for state in states])


def _list(choose: random.Random) -> bytes:
    items = [
        RecommendedItem(item, round(choose.random(), 6), Reason("session", [choose.choice(item_ids())]))
        for item in choose.sample(item_ids(), 20)
    ]
    answer = Recommendation(_hex(choose, 128), "session-000000", "", _hex(choose, 64), "0", START_MS, "encoder", items)
    return encode_recommendation(answer).replace(b'"trigger_event_id":"",', b"", 1)[1:]


def _state(choose: random.Random) -> bytes:
    state = SessionState(
        last_list=choose.sample(item_ids(), 20), carried=[Carried(_hex(choose, 64), 0, choose.randbytes(256))]
    )
    while len(encoded := encode_state(state)) < STATE_BYTES:
        event = Interaction(choose.choice(item_ids()), "view", START_MS, choose.getrandbits(63))
        state.interactions.append(event)
    return encoded[:STATE_BYTES]


def _hex(choose: random.Random, bits: int) -> str:
    return f"{choose.getrandbits(bits):0{bits // 4}x}"
