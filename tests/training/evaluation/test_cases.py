from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import as_events
from training.evaluation.cases import Cases


def cases_of(lengths: list[int]) -> Cases:
    sessions = as_events([list(range(1, length + 1)) for length in lengths])
    session = np.repeat(np.arange(len(lengths)), [length - 1 for length in lengths])
    position = np.concatenate([np.zeros(0, np.int64), *(np.arange(1, length) for length in lengths)])
    return Cases(sessions, session, position, np.arange(len(session)))


@given(st.lists(st.integers(2, 9), min_size=1, max_size=30), st.integers(1, 80))
def test_some_cases_are_those_of_whole_sessions_in_their_order(lengths: list[int], most: int) -> None:
    cases = cases_of(lengths)
    some = cases.some(most)
    assert 0 < len(some) <= most
    assert np.all(np.diff(some.click) > 0)
    if len(cases) <= most:
        assert some is cases
    found = Counter(some.session.tolist())
    if len(found) > 1:
        assert all(count == lengths[session] - 1 for session, count in found.items())
    # The same ones each time, and no session left out that would have fitted before the next.
    assert some.click.tolist() == cases.some(most).click.tolist()
