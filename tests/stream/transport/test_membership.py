from hypothesis import given
from hypothesis import strategies as st

from stream.transport.membership import Membership

moments = st.integers(0, 1_000)


@given(st.lists(moments), moments, st.integers(1, 100))
def test_a_worker_may_produce_for_half_a_session_after_its_newest_heartbeat(
    heartbeats: list[int], now: int, session_timeout_s: int
) -> None:
    """The answers may come in any order; what counts is when they were asked for."""
    membership = Membership(session_timeout_s, lambda: now)
    for asked_at in heartbeats:
        membership.confirm(asked_at)
    assert membership.fresh == any(2 * (now - asked_at) < session_timeout_s for asked_at in heartbeats)


def test_nobody_is_a_member_before_the_coordinator_has_said_so() -> None:
    assert not Membership(10.0).fresh


def test_time_in_which_the_process_was_stopped_counts() -> None:
    now = 0.0
    membership = Membership(10.0, lambda: now)
    membership.confirm(membership.now())
    now = 4.9
    assert membership.fresh
    now = 5.0
    assert not membership.fresh
