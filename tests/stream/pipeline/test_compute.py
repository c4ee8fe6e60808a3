from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from serving.bundle import Bundle
from serving.control import Control
from serving.events import Click, encode_click
from serving.process import Mode
from serving.recommender import Recommender
from serving.settings import ServingSettings
from stream.contract.incoming import Incoming
from stream.pipeline.compute import ByPlace, Computer, Outcome
from stream.pipeline.flight import add

Lists = dict[tuple[int, int], bytes]

clicks = st.builds(
    Click,
    event_id=st.integers(0, 15).map(lambda n: f"e{n}"),  # few enough for duplicates
    session_id=st.sampled_from(["a", "b", "c"]),
    item_id=st.integers(1, 53).map(lambda n: f"i{n}"),  # the bundle knows 50
    timestamp_ms=st.integers(0, 20).map(lambda n: n * 600_000),  # gaps, and times that go back
    consent=st.sampled_from([None, None, True, False]),
)
logs = st.lists(st.tuples(st.integers(0, 1), clicks | st.just(None)), max_size=25)


def records(log: list[tuple[int, Click | None]]) -> list[Incoming]:
    """The log as Kafka would give it, with broken records between the clicks."""
    offsets = {0: 0, 1: 0}
    found = []
    for partition, click in log:
        key, value = (b"a", b"{") if click is None else (click.session_id.encode(), encode_click(click))
        found.append(Incoming(partition, offsets[partition], 13_000_000, key, value, []))
        offsets[partition] += 1
    return found


def ended(outcome: Outcome) -> int:
    counts = outcome.duplicates + outcome.replayed + outcome.superseded + outcome.too_old
    return len(outcome.answers) + len(outcome.dead) + counts


def run(bundle: Bundle, batches: Iterable[list[Incoming]]) -> tuple[Lists, ByPlace]:
    states: ByPlace = {}
    lists: Lists = {}

    def state_of(partition: int, key: bytes) -> bytes | None:
        return states.get(partition, {}).get(key)

    computer = Computer(Recommender(bundle, ServingSettings()), state_of, partitions=2)
    for batch in batches:
        outcome = computer.compute(batch, Control())
        assert ended(outcome) == len(batch)
        add(outcome.states, states)
        lists |= {(record.partition, record.offset): served.value for record, served in outcome.answers}
    return lists, states


@given(log=logs, cuts=st.lists(st.integers(0, 25), max_size=6), again=st.integers(0, 25))
def test_batches_and_reading_again_change_neither_lists_nor_states(
    tiny_bundle: Bundle, log: list[tuple[int, Click | None]], cuts: list[int], again: int
) -> None:
    whole = records(log)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    lists, states = run(bundle := tiny_bundle, [whole])
    assert run(bundle, pieces) == (lists, states)

    # Ended after any number of batches, and started again from an older commit.
    done = len(pieces) // 2
    reread = [*pieces[:done], *pieces[max(0, done - again) :]]
    assert run(bundle, reread) == (lists, states)


@given(log=logs, since=st.integers(0, 30))
def test_under_overload_every_record_is_in_exactly_one_place(
    tiny_bundle: Bundle, log: list[tuple[int, Click | None]], since: int
) -> None:
    computer = Computer(Recommender(tiny_bundle, ServingSettings()), lambda *_: None, partitions=2)
    times = [n - 5 if n >= 5 else -1 for n in range(len(log))]
    batch = [structs.replace(record, timestamp_ms=at) for record, at in zip(records(log), times, strict=True)]
    outcome = computer.compute(batch, Control(), Mode("latest", shed=True), wanted_since_ms=since)
    assert ended(outcome) == len(batch)
    # A record that Kafka gave no time is wanted always.
    assert all(not 0 <= record.timestamp_ms < since for record, _ in outcome.answers)
    assert {served.listed.source for _, served in outcome.answers} <= {"shed"}
