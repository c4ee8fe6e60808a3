"""The contract of every encoder that ships: a session vector depends on the session's window alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import Bundle
from serving.encoders import Reading, RecurrentEncoder
from serving.errors import BundleError
from serving.session import Carried, Moment, join_lines, window_start
from tests.tiny_bundle import gru_step

# Item i9 and above the tiny catalogue's 50 are unknown; the window is 6.
sessions = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def moments(bundle: Bundle, session: list[int]) -> list[Moment]:
    ids = [f"i{item}" for item in session]
    return [Moment(n, bundle.catalogue.row(ids[n]), n + 1, join_lines(ids[: n + 1])) for n in range(len(ids))]


def encode(bundle: Bundle, *readings: Reading) -> list[list[bytes | None]]:
    """Vectors of each reading's moments; a moment is given its place among all of them."""
    everything = [moment for reading in readings for moment in reading.moments]
    for at, moment in enumerate(everything):
        moment.at = at
    vectors, known = bundle.encoder.encode(readings, bundle.catalogue.known_rows)
    found = [vector.tobytes() if has else None for vector, has in zip(vectors, known, strict=True)]
    return [[found[moment.at] for moment in reading.moments] for reading in readings]


def by_hand(bundle: Bundle, session: list[int], count: int) -> bytes | None:
    """The definition: from zeros, one step for each known item of the window."""
    state, vector = np.zeros((1, bundle.manifest.encoder.state_size), np.float32), None
    for item in session[window_start(count, bundle.manifest.encoder.window) : count]:
        if row := bundle.catalogue.row(f"i{item}"):
            state, vector = bundle.encoder.step([row], state)
    return None if vector is None else vector[0].tobytes()


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 31, 64, 255])
def test_a_step_does_not_depend_on_the_batch(bundle: Bundle, batch: int) -> None:
    random = np.random.default_rng(3)
    rows, states = random.integers(1, 51, 256).tolist(), random.normal(size=(256, 8)).astype(np.float32)
    whole = bundle.encoder.step(rows, states)
    for start in range(0, 256, batch):
        part = bundle.encoder.step(rows[start : start + batch], states[start : start + batch])
        for one, all_ in zip(part, whole, strict=True):
            assert one.tobytes() == all_[start : start + batch].tobytes()


@given(st.lists(sessions, min_size=1, max_size=5))
@settings(deadline=None)
def test_vectors_are_those_of_the_definition_for_all_sessions_at_once(bundle: Bundle, several: list[list[int]]) -> None:
    found = encode(bundle, *(Reading(moments(bundle, session), []) for session in several))
    assert found == [[by_hand(bundle, s, n) for n in range(1, len(s) + 1)] for s in several]


@given(sessions, st.data())
@settings(deadline=None)
def test_carrying_the_state_from_batch_to_batch_changes_no_bit(
    bundle: Bundle, session: list[int], data: st.DataObject
) -> None:
    log = moments(bundle, session)
    carried: list[Carried] = []
    found: list[bytes | None] = []
    while len(found) < len(log):
        size = data.draw(st.integers(1, 7))
        reading = Reading(log[len(found) : len(found) + size], carried)
        found += encode(bundle, reading)[0]
        carried = reading.carried if data.draw(st.booleans()) else []
    assert found == [by_hand(bundle, session, n) for n in range(1, len(session) + 1)]


def test_a_session_that_begins_anew_within_a_batch_takes_nothing_over(bundle: Bundle) -> None:
    before, after = moments(bundle, [1, 2, 3]), moments(bundle, [4, 5])
    found = encode(bundle, Reading(before + after, []))
    assert found == [
        [by_hand(bundle, session, n) for session in ([1, 2, 3], [4, 5]) for n in range(1, len(session) + 1)]
    ]


def test_a_state_of_another_bundle_is_not_taken_up(bundle: Bundle) -> None:
    log = moments(bundle, [1, 2, 3])
    foreign = Carried("another bundle", 0, np.ones(8, np.float32).tobytes())
    assert encode(bundle, Reading(log[2:], [foreign])) == [[by_hand(bundle, [1, 2, 3], 3)]]


def test_a_click_costs_at_most_two_steps_once_states_are_carried(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped: list[int] = []
    step = RecurrentEncoder.step

    def counted(self: RecurrentEncoder, rows: list[int], states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        stepped.extend(rows)
        return step(self, rows, states)

    monkeypatch.setattr(RecurrentEncoder, "step", counted)
    carried: list[Carried] = []
    for moment in moments(bundle, [n % 50 + 1 for n in range(60)]):
        stepped.clear()
        reading = Reading([moment], carried)
        encode(bundle, reading)
        carried = reading.carried
        assert 1 <= len(stepped) <= 2


def test_a_network_of_another_shape_is_refused_with_both_shapes(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"'x': 8.*the manifest says.*'x': 4"):
        RecurrentEncoder(gru_step(8), bundle.vectors[:, :4], state_size=8, dim=8, window=6, bundle="b")


def test_bytes_that_are_no_network_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="cannot be loaded"):
        RecurrentEncoder(b"no network", bundle.vectors, state_size=8, dim=8, window=6, bundle="b")
