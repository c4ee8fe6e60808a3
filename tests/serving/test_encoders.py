"""The contract of both forms of encoders: a session vector depends on the session's window alone."""

from bisect import bisect_right
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import Bundle
from serving.encoders import Event, EventTables, Reading, RecurrentEncoder, Window, WindowEncoder
from serving.encoders.events import AGES, SILENCES, SILENCES_S, ages, silence, silences
from serving.errors import BundleError
from serving.session import Carried, Interaction, Moment, SessionState, last_events, window_start
from tests.tiny_bundle import attention_window, gru_step

# Of a click: its item, of which i51 and above are unknown; its type, of which only view and buy are known; the seconds
# since the one before, which are negative where it came late. The window is 6.
clicks = st.tuples(
    st.integers(1, 60), st.sampled_from(["view", "buy", "sigh"]), st.sampled_from([0, 1, 7, 100, 5000, 10**6, -30])
)
sessions = st.lists(clicks, min_size=1, max_size=40)
Clicks = list[tuple[int, str, int]]
NOTHING = [(n, "view", 0) for n in (51, 52, 53)]


def views(*items: int) -> Clicks:
    return [(item, "view", 60) for item in items]


def moments(bundle: Bundle, session: Clicks) -> list[Moment]:
    """The session as each of its clicks left it."""
    times_ms = 1000 * np.cumsum([gap_s for _, _, gap_s in session])
    whole = [
        Interaction(f"i{item}", kind, int(at), n)
        for n, ((item, kind, _), at) in enumerate(zip(session, times_ms, strict=True))
    ]
    found = []
    for count in range(1, len(whole) + 1):
        state = SessionState.of(whole[:count])
        row = bundle.catalogue.row(whole[count - 1].item_id)
        found.append(Moment(count - 1, row, count, state.items, state.types, state.times))
    return found


def encode(bundle: Bundle, *readings: Reading) -> list[list[bytes | None]]:
    """Vectors of each reading's moments; a moment is given its place among all of them."""
    everything = [moment for reading in readings for moment in reading.moments]
    for at, moment in enumerate(everything):
        moment.at = at
    vectors, known = bundle.encoder.encode(readings, bundle.catalogue.rows_of)
    found = [vector.tobytes() if has else None for vector, has in zip(vectors, known, strict=True)]
    return [[found[moment.at] for moment in reading.moments] for reading in readings]


def read_by_hand(bundle: Bundle, window: Clicks) -> list[Event]:
    """The definition of a window's events: types by their place in the manifest, silences by the table of bounds.

    A silence lies between two events on known items.
    """
    types = ["", *bundle.manifest.session_encoder.event_types]
    bounds = [0.0, *(float(bound) for bound in SILENCES_S)]
    found: list[Event] = []
    passed_s = 0
    for item, kind, gap_s in window:
        row = bundle.catalogue.row(f"i{item}")
        number = types.index(kind) if kind in types else 0
        passed_s += gap_s
        if row:
            found.append((row, number, max(1, bisect_right(bounds, passed_s)) if found else 0))
            passed_s = 0
    return found


def by_hand(bundle: Bundle, session: Clicks, count: int) -> bytes | None:
    """The definition: from zeros, one step for each known item of the window; or the window alone in a call."""
    encoder, window = bundle.encoder, bundle.manifest.session_encoder.window
    if isinstance(encoder, RecurrentEncoder):
        state, vector = np.zeros((1, bundle.manifest.session_encoder.state_size), np.float32), None
        for event in read_by_hand(bundle, session[window_start(count, window) : count]):
            state, vector = encoder.step([event], state)
        return None if vector is None else vector[0].tobytes()
    start = last_events(count, window)
    events = read_by_hand(bundle, session[start:count])
    times = 1000 * np.cumsum([gap_s for _, _, gap_s in session])[start:count]
    known = [bundle.catalogue.row(f"i{item}") > 0 for item, _, _ in session[start:count]]
    assert isinstance(encoder, WindowEncoder)
    return encoder.vectors([Window(events, times[known])])[0].tobytes() if events else None


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 31, 64, 255])
def test_a_step_does_not_depend_on_the_batch(bundle: Bundle, batch: int) -> None:
    random = np.random.default_rng(3)
    events = [(int(row), 0, 0) for row in random.integers(1, 51, 256)]
    states = random.normal(size=(256, 8)).astype(np.float32)
    encoder = bundle.encoder
    assert isinstance(encoder, RecurrentEncoder)
    whole = encoder.step(events, states)
    for start in range(0, 256, batch):
        part = encoder.step(events[start : start + batch], states[start : start + batch])
        for one, all_ in zip(part, whole, strict=True):
            assert one.tobytes() == all_[start : start + batch].tobytes()


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64])
def test_a_windows_vector_does_not_depend_on_the_batch(window_bundle: Bundle, batch: int) -> None:
    random = np.random.default_rng(3)
    windows = [
        Window(
            [(int(row), 1, 1) for row in random.integers(1, 51, length)],
            np.cumsum(random.integers(0, 10**8, length)),
        )
        for length in random.integers(1, 7, 128)
    ]
    encoder = window_bundle.encoder
    assert isinstance(encoder, WindowEncoder)
    alone = np.concatenate([encoder.vectors([window]) for window in windows])
    for start in range(0, 128, batch):
        assert encoder.vectors(windows[start : start + batch]).tobytes() == alone[start : start + batch].tobytes()


@given(st.lists(sessions, min_size=1, max_size=5))
@settings(deadline=None)
def test_vectors_are_those_of_the_definition_for_all_sessions_at_once(
    any_bundle: Bundle, several: list[Clicks]
) -> None:
    found = encode(any_bundle, *(Reading(moments(any_bundle, session), []) for session in several))
    assert found == [[by_hand(any_bundle, s, n) for n in range(1, len(s) + 1)] for s in several]


@given(sessions, st.data())
@settings(deadline=None)
def test_carrying_the_state_from_batch_to_batch_changes_no_bit(
    any_bundle: Bundle, session: Clicks, data: st.DataObject
) -> None:
    log = moments(any_bundle, session)
    carried: list[Carried] = []
    found: list[bytes | None] = []
    while len(found) < len(log):
        size = data.draw(st.integers(1, 7))
        reading = Reading(log[len(found) : len(found) + size], carried)
        found += encode(any_bundle, reading)[0]
        carried = reading.carried if data.draw(st.booleans()) else []
    assert found == [by_hand(any_bundle, session, n) for n in range(1, len(session) + 1)]


def test_a_session_that_begins_anew_within_a_batch_takes_nothing_over(any_bundle: Bundle) -> None:
    before, after = views(1, 2, 3), views(4, 5)
    found = encode(any_bundle, Reading(moments(any_bundle, before) + moments(any_bundle, after), []))
    assert found == [
        [by_hand(any_bundle, session, n) for session in (before, after) for n in range(1, len(session) + 1)]
    ]


def test_a_session_whose_window_holds_no_known_item_has_no_vector(any_bundle: Bundle) -> None:
    # Of ten events, a window of 6 reads the last six, and one that is stepped through the last four.
    session = [*NOTHING, *views(7), *NOTHING, *NOTHING]
    (found,) = encode(any_bundle, Reading(moments(any_bundle, session), []))
    assert [vector is not None for vector in found[:4]] == [False, False, False, True]
    assert found[-1] is None


def test_a_window_form_carries_nothing(window_bundle: Bundle) -> None:
    reading = Reading(moments(window_bundle, views(1, 2)), [Carried(window_bundle.id, 0, b"old")])
    encode(window_bundle, reading)
    assert reading.carried == []


def test_a_state_of_another_bundle_is_not_taken_up(bundle: Bundle) -> None:
    session = views(1, 2, 3)
    foreign = Carried("another bundle", 0, np.ones(8, np.float32).tobytes())
    assert encode(bundle, Reading(moments(bundle, session)[2:], [foreign])) == [[by_hand(bundle, session, 3)]]


@pytest.mark.parametrize("changed", ["type", "silence", "both"])
def test_types_silences_and_ages_change_the_vector_of_encoders_that_read_them(any_bundle: Bundle, changed: str) -> None:
    spec = any_bundle.manifest.session_encoder
    plain = views(1, 2, 3)
    kind, gap_s = ("view" if changed == "silence" else "buy"), (60 if changed == "type" else 5000)
    other = [*plain[:2], (3, kind, gap_s)]
    one, two = (encode(any_bundle, Reading(moments(any_bundle, session), []))[0][-1] for session in (plain, other))
    reads_it = (bool(spec.event_types) and changed != "silence") or (
        changed != "type" and (spec.silences or spec.time_of != "none")
    )
    assert (one != two) == reads_it


def test_a_query_is_asked_at_its_own_time_where_that_is_told(query_bundle: Bundle) -> None:
    encoder, session = query_bundle.encoder, views(1, 2, 3)
    assert isinstance(encoder, WindowEncoder)

    def asked(times_ms: list[int] | None) -> bytes:
        moment = moments(query_bundle, session)[-1]
        moment.at = 0
        return encoder.encode([Reading([moment], [])], query_bundle.catalogue.rows_of, asked_ms=times_ms)[0].tobytes()

    assert asked(None) == asked([180_000])
    assert asked([180_000]) != asked([18_000_000])


def test_a_click_costs_at_most_two_steps_once_states_are_carried(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped: list[Event] = []
    step = RecurrentEncoder.step

    def counted(self: RecurrentEncoder, events: list[Event], states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        stepped.extend(events)
        return step(self, events, states)

    monkeypatch.setattr(RecurrentEncoder, "step", counted)
    carried: list[Carried] = []
    for moment in moments(bundle, views(*(n % 50 + 1 for n in range(60)))):
        stepped.clear()
        reading = Reading([moment], carried)
        encode(bundle, reading)
        carried = reading.carried
        assert 1 <= len(stepped) <= 2


@pytest.mark.parametrize("length", [1, 2, 5, 7, 13, 33, 97, 199])
def test_what_a_window_is_padded_with_is_not_seen(bundle: Bundle, length: int) -> None:
    window = Window([(1 + n * n % 50, 0, 0) for n in range(length)], np.zeros(length, np.int64))
    # A window of this very length is not padded.
    padded, exact = (
        WindowEncoder(attention_window(8), tables(bundle), dim=8, window=longest, time_of="none").vectors([window])
        for longest in (200, length)
    )
    np.testing.assert_allclose(padded, exact, rtol=0, atol=1e-6)


def test_silences_are_cut_where_the_table_says() -> None:
    for place, bound_s in enumerate(SILENCES_S, start=1):
        assert silence(5000, 5000 + 1000 * bound_s - 1) == place
        assert silence(5000, 5000 + 1000 * bound_s) == place + 1
    assert silence(5000, 10**13) == SILENCES - 1
    assert silence(5000, 4000) == 1  # it came late


@given(st.lists(st.integers(-(10**6), 10**10), min_size=1, max_size=20))
def test_silences_of_a_window_are_those_between_its_events(steps_ms: list[int]) -> None:
    times_ms = np.cumsum(steps_ms)
    expected = [0, *(silence(int(a), int(b)) for a, b in pairwise(times_ms))]
    assert silences(times_ms).tolist() == expected


def test_ages_grow_with_time_and_have_a_first_and_a_last_number() -> None:
    times_ms = np.array([0, 1000, 5_000, 60_000, 86_400_000])
    (found,) = ages(np.array([86_400_000]), times_ms)
    assert found[-1] == 0  # of itself
    assert (np.diff(found) <= 0).all()
    assert ages(np.array([10**13]), np.array([0])).tolist() == [[AGES - 1]]
    assert ages(np.array([0]), np.array([5000])).tolist() == [[0]]  # an event that came after the moment


def tables(bundle: Bundle, width: int = 8) -> EventTables:
    return EventTables(bundle.vectors[:, :width])


def test_a_network_of_another_shape_is_refused_with_both_shapes(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"x is tensor\(float\) of 2 axes, 8 wide, expected .* 4 wide"):
        RecurrentEncoder(gru_step(8), tables(bundle, 4), state_size=8, dim=8, window=6, bundle="b")
    with pytest.raises(BundleError, match=r"x is tensor\(float\) of 3 axes, 8 wide, expected .* 4 wide"):
        WindowEncoder(attention_window(8), tables(bundle, 4), dim=8, window=6, time_of="none")


def test_a_network_of_the_other_form_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"encoder\.step\.onnx has the tensors"):
        RecurrentEncoder(attention_window(8), tables(bundle), state_size=8, dim=8, window=6, bundle="b")
    with pytest.raises(BundleError, match=r"encoder\.window\.onnx has the tensors"):
        WindowEncoder(gru_step(8), tables(bundle), dim=8, window=6, time_of="none")


@pytest.mark.parametrize("timed", [True, False])
def test_a_network_that_looks_at_time_is_told_apart_from_one_that_does_not(bundle: Bundle, timed: bool) -> None:
    with pytest.raises(BundleError, match=r"encoder\.window\.onnx has the tensors .*last"):
        WindowEncoder(
            attention_window(8, timed=timed), tables(bundle), dim=8, window=6, time_of="none" if timed else "last"
        )


def test_bytes_that_are_no_network_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="cannot be loaded"):
        RecurrentEncoder(b"no network", tables(bundle), state_size=8, dim=8, window=6, bundle="b")
    with pytest.raises(BundleError, match="cannot be loaded"):
        WindowEncoder(b"no network", tables(bundle), dim=8, window=6, time_of="none")
