"""Clicks for benchmarks, and what the systems beside nextclick answer them with; the same for the same seed."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from serving.events import Click, Reason, Recommendation, RecommendedItem, encode_click, encode_recommendation
from serving.recommender import RankedList
from tests.benchmarks.systems.blobs import COUNT, Blobs
from tests.benchmarks.systems.job import Job, Prepared

SEED = 4
SESSIONS = 10_000
ITEMS = 5_000
STATE_BYTES = 1_536
# A millisecond from click to click: all of them lie within one session gap, so that nothing expires meanwhile.
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


def interleave(sessions: Sequence[Sequence[str]], live: int) -> Iterator[tuple[str, str]]:
    """Yield (session id, item id) for ever: so many sessions at a time, each in its order, one click each in turn.

    When a session is over, the next one takes its place; when all have been played, they begin anew under other ids.
    """
    numbers = itertools.count()

    def lane() -> Iterator[tuple[str, str]]:
        while True:
            number = next(numbers)
            for item_id in sessions[number % len(sessions)]:
                yield f"session-{number:08d}", item_id

    lanes = [lane() for _ in range(live)]
    return (next(lane) for lane in itertools.cycle(lanes))


def records(clicks: Iterable[tuple[str, str]], start_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of clicks that come a millisecond after each other."""
    for number, (session_id, item_id) in enumerate(clicks):
        yield session_id.encode(), encode_click(Click(f"{number:010d}", session_id, item_id, start_ms + number))


def blobs(count: int = 1_000) -> Blobs:
    """Return what the bare loops, the echo and `quix_bytes` write."""
    choose = random.Random(SEED)
    lists, states = [_list(choose) for _ in range(count)], [_state(choose) for _ in range(count)]
    return Blobs(lists, [state[COUNT.size :] for state in states])


def job(count: int = 1_000) -> Job:
    """Return what Quix Streams and Faust do for a click: nextclick's work."""
    choose = random.Random(SEED)
    ranked = (RankedList.of("encoder", _items(choose)) for _ in range(count))
    return Job([Prepared(found.items, found.shown) for found in ranked], choose.randbytes(4 * 64))


def _list(choose: random.Random) -> bytes:
    identity, bundle = _hex(choose, 128), _hex(choose, 64)
    answer = Recommendation(identity, "session-000000", "", bundle, "0", START_MS, "encoder", _items(choose))
    return encode_recommendation(answer).replace(b'"trigger_event_id":"",', b"", 1)[1:]


def _items(choose: random.Random) -> list[RecommendedItem]:
    return [
        RecommendedItem(item, round(choose.random(), 6), Reason("session", [choose.choice(item_ids())]))
        for item in choose.sample(item_ids(), 20)
    ]


def _state(choose: random.Random) -> bytes:
    """Return what a state is made of, ids, times, hashes and an encoder's numbers, as often as it takes."""
    parts = [choose.randbytes(4 * 64), *(item.encode() for item in choose.sample(item_ids(), 20))]
    events = [f"{item}\nview".encode() + choose.randbytes(12) for item in choose.sample(item_ids(), 100)]
    return b"\n".join(parts + events)[:STATE_BYTES]


def _hex(choose: random.Random, bits: int) -> str:
    return f"{choose.getrandbits(bits):0{bits // 4}x}"
