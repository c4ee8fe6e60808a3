import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from serving.bundle import Bundle
from serving.control import Control
from serving.events import MAX_SUPERSEDED, Click, encode_recommendation
from serving.process import Hit, Mode, Processed, Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState, encode_state
from serving.settings import ServingSettings
from tests.serving.conftest import BUNDLES
from tests.tiny_bundle import write_tiny_bundle

GAP_S = 100.0


@pytest.fixture(scope="session")
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle, ServingSettings(session_gap_s=GAP_S, session_length=8, list_size=5))


@pytest.fixture(scope="session", params=["step", "step, types and silences", "window, types, silences and ages"])
def any_recommender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """Both forms of encoders, with all that they may read of an event."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", **BUNDLES[request.param])
    return Recommender(bundle, ServingSettings(session_gap_s=GAP_S, session_length=8, list_size=5))


def click(
    event: int | str,
    session: str = "s",
    item: str = "i1",
    at_s: float = 0,
    consent: bool | None = None,
    event_type: str = "view",
) -> Click:
    return Click(str(event), session, item, int(at_s * 1000), event_type, consent=consent)


def log(*clicks: Click) -> list[Sourced]:
    return [Sourced(click, offset, 10**12) for offset, click in enumerate(clicks)]


def items(processed: Processed) -> list[list[str]]:
    return [[item.item_id for item in served.recommendation.items] for served in processed.lists]


@st.composite
def logs(draw: st.DrawFn) -> list[Sourced]:
    """A log of several sessions: duplicates, silences, late and unknown items, other types, no consent."""
    clicks = []
    at_s = 1000.0
    for event in range(draw(st.integers(1, 40))):
        at_s += draw(st.sampled_from([0, 1, 1, 5, 60, 250, -30]))
        event_id = draw(st.integers(0, event)) if draw(st.integers(0, 9)) == 0 else event
        session, item = f"s{draw(st.integers(0, 2))}", f"i{draw(st.integers(1, 60))}"
        consent, kind = (
            draw(st.sampled_from([None, None, None, True, False])),
            draw(st.sampled_from(["view", "buy", "?"])),
        )
        clicks.append(click(event_id, session, item, at_s, consent, kind))
    return log(*clicks)


def played(
    clicks: list[Sourced], sizes: list[int], recommender: Recommender
) -> tuple[list[bytes], dict, list[Hit], int]:
    states: dict[str, SessionState] = {}
    lists: list[bytes] = []
    hits: list[Hit] = []
    duplicates = 0
    while clicks:
        size = sizes[0]
        sizes = sizes[1:] + sizes[:1]
        batch, clicks = clicks[:size], clicks[size:]
        processed = process(states, batch, recommender, Control())
        states |= processed.states
        lists += [encode_recommendation(served.recommendation) for served in processed.lists]
        hits += processed.hits
        duplicates += processed.duplicates
    return lists, {session: encode_state(state) for session, state in states.items()}, hits, duplicates


@given(logs(), st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(deadline=None)
def test_how_a_log_is_cut_into_batches_changes_nothing(
    any_recommender: Recommender, clicks: list[Sourced], sizes: list[int]
) -> None:
    assert played(clicks, sizes, any_recommender) == played(clicks, [len(clicks)], any_recommender)


@given(logs())
@settings(deadline=None)
def test_a_session_does_not_depend_on_the_others(any_recommender: Recommender, clicks: list[Sourced]) -> None:
    alone = defaultdict(list)
    for sourced in clicks:
        alone[sourced.click.session_id].append(sourced)
    together = process({}, clicks, any_recommender, Control())
    for session, own in alone.items():
        separate = process({}, own, any_recommender, Control())
        assert [s.value for s in together.lists if s.click.session_id == session] == [s.value for s in separate.lists]
        assert together.states.get(session) == separate.states.get(session)


@given(logs(), st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_events_that_are_delivered_again_change_nothing(
    any_recommender: Recommender, clicks: list[Sourced], done: int, back: int
) -> None:
    """What a crash does: the states are ahead of the committed offset, and part of the log is read again."""
    first = process({}, clicks[:done], any_recommender, Control())
    resumed = max(0, min(done, len(clicks)) - back)
    again = process(first.states, clicks[resumed:], any_recommender, Control())
    whole = process({}, clicks, any_recommender, Control())
    assert first.states | again.states == whole.states
    ids = {encode_recommendation(s.recommendation) for s in first.lists + again.lists}
    assert ids == {encode_recommendation(s.recommendation) for s in whole.lists}


def test_the_states_that_are_given_are_not_changed(recommender: Recommender) -> None:
    states = process({}, log(click(0), click(1, item="i2")), recommender, Control()).states
    before = encode_state(states["s"])
    process(states, [Sourced(click(2, item="i3"), 2, 0)], recommender, Control())
    assert encode_state(states["s"]) == before


def test_every_click_gets_a_list_that_names_it(recommender: Recommender, bundle: Bundle) -> None:
    [first, second] = process({}, log(click("a"), click("b", item="i2")), recommender, Control("7")).lists
    assert [s.recommendation.trigger_event_id for s in (first, second)] == ["a", "b"]
    assert first.recommendation.bundle == bundle.id
    assert first.recommendation.control_revision == "7"
    assert first.recommendation.recommendation_id != second.recommendation.recommendation_id


def test_a_duplicate_gets_no_second_list_and_is_counted(recommender: Recommender) -> None:
    processed = process({}, log(click("a"), click("a"), click("b"), click("a")), recommender, Control())
    assert [s.recommendation.trigger_event_id for s in processed.lists] == ["a", "b"]
    assert processed.duplicates == 2
    assert processed.states["s"].count == 2
    assert processed.states["s"].applied_offset == 3


def test_how_far_back_a_duplicate_is_recognised_does_not_depend_on_batches(recommender: Recommender) -> None:
    clicks = log(*(click(n, item=f"i{n + 1}") for n in range(12)), click(3, item="i4"), click(5, item="i6"))
    one_by_one, at_once = played(clicks, [1], recommender), played(clicks, [len(clicks)], recommender)
    assert one_by_one == at_once
    assert at_once[3] == 1  # when it comes, 5 is one of the last 8 events, as 3 was not


def test_an_event_id_used_again_after_the_gap_is_another_event_whether_or_not_the_session_has_expired(
    recommender: Recommender,
) -> None:
    again = click("a", item="i5", at_s=GAP_S + 1)
    kept = process({}, log(click("a", item="i4"), again), recommender, Control())
    expired = process({}, log(again), recommender, Control())
    assert kept.lists[1].value == expired.lists[0].value
    assert kept.duplicates == 0


def test_one_click_from_the_future_does_not_keep_a_session_from_ending(recommender: Recommender) -> None:
    future = click(1, at_s=9_000_000)
    clicks = log(click(0, at_s=1), future, click(2, at_s=2), click(3, at_s=2 + GAP_S + 1))
    assert process({}, clicks[:3], recommender, Control()).states["s"].count == 2  # it began a session, as after a gap
    assert process({}, clicks, recommender, Control()).states["s"].count == 1


def test_a_silence_longer_than_the_gap_starts_an_empty_session(recommender: Recommender) -> None:
    cut = process({}, log(click(0, item="i4"), click(1, item="i5", at_s=GAP_S + 0.001)), recommender, Control())
    fresh = process({}, log(click(1, item="i5")), recommender, Control())
    assert items(cut)[1] == items(fresh)[0]
    assert cut.states["s"].count == 1
    assert cut.hits == []
    kept = process({}, log(click(0, item="i4"), click(1, item="i5", at_s=GAP_S)), recommender, Control())
    assert items(kept)[1] != items(fresh)[0]


def test_an_unknown_item_alone_gives_what_is_popular_and_later_counts_for_nothing(recommender: Recommender) -> None:
    processed = process({}, log(click(0, item="new"), click(1, item="i5")), recommender, Control())
    assert [s.recommendation.source for s in processed.lists] == ["popularity", "encoder"]
    assert items(processed)[1] == items(process({}, log(click(1, item="i5")), recommender, Control()))[0]
    assert [i.item_id for i in processed.states["s"].interactions] == ["new", "i5"]


def test_without_consent_a_list_is_made_from_the_click_alone_and_nothing_is_stored(recommender: Recommender) -> None:
    states = process({}, log(click(0, item="i4")), recommender, Control()).states
    processed = process(states, [Sourced(click(1, item="i5", consent=False), 1, 0)], recommender, Control())
    assert processed.states == {}
    assert processed.hits == []
    assert items(processed) == items(process({}, log(click(1, item="i5")), recommender, Control()))


def test_a_hit_is_the_clicks_place_in_the_list_shown_before_it(recommender: Recommender, bundle: Bundle) -> None:
    shown = items(process({}, log(click(0, item="i4")), recommender, Control()))[0]
    missing = next(item for item in bundle.catalogue.item_ids[1:] if item not in shown)
    third = process({}, log(click(0, item="i4"), click(1, item=shown[2])), recommender, Control())
    none = process({}, log(click(0, item="i4"), click(1, item=missing)), recommender, Control())
    assert third.hits == [Hit(bundle.id, 3)]
    assert none.hits == [Hit(bundle.id, 0)]


def test_times_of_an_event_from_the_future_are_clamped_for_expiry_only(recommender: Recommender) -> None:
    clicks = [Sourced(click(0, at_s=9_000_000), 0, 5_000), Sourced(click(1, at_s=4), 1, 6_000)]
    state = process({}, clicks, recommender, Control()).states["s"]
    assert state.seen_ms == 5_000


def test_a_state_keeps_the_last_interactions_and_knows_how_many_there_were(recommender: Recommender) -> None:
    state = process({}, log(*(click(n, item=f"i{n + 1}") for n in range(30))), recommender, Control()).states["s"]
    assert [i.item_id for i in state.interactions] == [f"i{n}" for n in range(23, 31)]
    assert state.count == 30


MODES = [Mode(emit, shed) for emit in ("every", "latest") for shed in (False, True)]


def overloaded(
    clicks: list[Sourced], size: int, mode: Mode, recommender: Recommender
) -> tuple[list[Processed], dict[str, SessionState]]:
    """Play a log, batch by batch, in one mode."""
    states: dict[str, SessionState] = {}
    found = []
    for start in range(0, len(clicks), size):
        found.append(process(states, clicks[start : start + size], recommender, Control(), mode))
        states |= found[-1].states
    return found, states


@given(logs(), st.integers(1, 20), st.sampled_from(MODES), st.sets(st.integers(0, 39)))
@settings(deadline=None)
def test_under_overload_every_click_is_accounted_for_and_counts_in_its_session(
    recommender: Recommender, clicks: list[Sourced], size: int, mode: Mode, old: set[int]
) -> None:
    clicks = [replace(sourced, wanted=sourced.offset not in old) for sourced in clicks]
    found, states = overloaded(clicks, size, mode, recommender)
    _, whole = overloaded([replace(sourced, wanted=True) for sourced in clicks], size, Mode(), recommender)

    lists = [served.recommendation for batch in found for served in batch.lists]
    named = sum(len(each.supersedes) for each in lists)
    assert named == sum(batch.superseded for batch in found)
    left_out = sum(batch.too_old + batch.duplicates + batch.replayed for batch in found)
    assert len(lists) + named + left_out == len(clicks)
    assert mode.emit == "latest" or named == 0

    # What was shown last differs, nothing else.
    for state in (*states.values(), *whole.values()):
        state.last_list = state.last_list_bundle = ""
    assert states == whole


@given(logs(), st.integers(1, 20), st.integers(1, 20), st.sets(st.integers(0, 39)))
@settings(deadline=None)
def test_lists_of_one_id_are_the_same_bytes_in_every_mode_and_batch(
    recommender: Recommender, clicks: list[Sourced], size: int, other: int, old: set[int]
) -> None:
    # An event id of a session that began anew is another event under the old id: tell the events apart.
    clicks = [replace(s, click=replace(s.click, event_id=str(s.offset))) for s in clicks]
    values: dict[str, bytes] = {}
    for mode in MODES:
        for cut in (size, other):
            for aged in (set(), old):
                log = [replace(sourced, wanted=sourced.offset not in aged) for sourced in clicks]
                for batch in overloaded(log, cut, mode, recommender)[0]:
                    for served in batch.lists:
                        value = encode_recommendation(served.recommendation)
                        assert values.setdefault(served.recommendation.recommendation_id, value) == value
                        assert (served.recommendation.source == "shed") is mode.shed


def test_the_latest_click_of_a_session_is_answered_with_the_list_that_it_would_have_had(
    recommender: Recommender,
) -> None:
    clicks = log(click("a", "s"), click("x", "t"), click("b", "s", "i2"), click("c", "s", "i3"))
    latest = process({}, clicks, recommender, Control(), Mode("latest"))
    every = process({}, clicks, recommender, Control())
    assert [(s.click.event_id, s.recommendation.supersedes) for s in latest.lists] == [("x", []), ("c", ["a", "b"])]
    assert latest.lists[0].value == every.lists[1].value
    assert items(latest)[1] == items(every)[3]
    assert latest.lists[1].recommendation.recommendation_id != every.lists[3].recommendation.recommendation_id


def test_the_latest_click_that_is_wanted_is_answered_and_names_none_that_is_not(recommender: Recommender) -> None:
    old, first, second, older = log(click("old"), click("a", item="i2"), click("b", item="i3"), click("older"))
    clicks = [replace(old, wanted=False), first, second, replace(older, wanted=False)]
    processed = process({}, clicks, recommender, Control(), Mode("latest"))
    assert [(s.click.event_id, s.recommendation.supersedes) for s in processed.lists] == [("b", ["a"])]
    assert (processed.superseded, processed.too_old) == (1, 2)


def test_a_list_names_only_so_many_clicks_and_the_next_list_names_the_rest(recommender: Recommender) -> None:
    clicks = log(*(click(n) for n in range(2 * MAX_SUPERSEDED + 5)))
    lists = [s.recommendation for s in process({}, clicks, recommender, Control(), Mode("latest")).lists]
    assert [len(each.supersedes) for each in lists] == [MAX_SUPERSEDED, MAX_SUPERSEDED, 2]
    named = [event for each in lists for event in (*each.supersedes, each.trigger_event_id)]
    assert named == [str(n) for n in range(len(clicks))]


def test_a_list_is_scored_by_the_click_right_after_the_one_that_it_answers_and_by_no_other(
    recommender: Recommender, bundle: Bundle
) -> None:
    first = process({}, log(click("a", item="i4")), recommender, Control())
    shown = items(first)[0]
    later = [Sourced(click(n, item=shown[n]), n, 0) for n in (1, 2, 3)]
    processed = process(first.states, later, recommender, Control(), Mode("latest"))
    assert processed.hits == [Hit(bundle.id, 2)]  # of click 1; nothing was guessed before 2 and 3
    after = process(processed.states, [Sourced(click(4, item=items(processed)[0][0]), 4, 0)], recommender, Control())
    assert after.hits == [Hit(bundle.id, 1)]


def test_a_shed_list_is_what_is_popular_without_what_is_excluded(recommender: Recommender) -> None:
    processed = process({}, log(click("a", item="i2")), recommender, Control(), Mode(shed=True))
    assert items(processed) == [["i1", "i3", "i4", "i5", "i6"]]


GRACE_MS = 30_000


def late_log(rng: random.Random) -> list[Sourced]:
    """A log whose clicks come late, or from clocks that run ahead of the broker's: together by the grace at most."""
    clicks = []
    now_ms = 10_000_000
    for event in range(200):
        now_ms += rng.choice([0, 1_000, 5_000, 20_000, 60_000, 100_000])
        late_ms = rng.choice([0, GRACE_MS // 2, -GRACE_MS // 2])
        event_id = str(rng.choice([event, event, event - rng.randint(0, 5)]))
        own = Click(event_id, f"s{rng.randint(0, 5)}", f"i{rng.randint(1, 60)}", now_ms - late_ms)
        clicks.append(Sourced(own, event, now_ms))
    return clicks


@pytest.mark.parametrize("seed", range(10))
def test_when_silent_sessions_leave_changes_nothing_for_clicks_that_are_late_by_no_more_than_the_grace(
    recommender: Recommender, seed: int
) -> None:
    rng = random.Random(seed)
    kept: dict[str, SessionState] = {}
    swept: dict[str, SessionState] = {}
    watermark_ms = gone = 0
    for sourced in late_log(rng):
        whole = process(kept, [sourced], recommender, Control())
        found = process(swept, [sourced], recommender, Control())
        assert found == whole
        kept |= whole.states
        swept |= found.states
        watermark_ms = max([watermark_ms, *(state.seen_ms for state in swept.values())])
        if rng.random() < 0.5:
            horizon_ms = watermark_ms - GAP_S * 1000 - GRACE_MS
            staying = {session: state for session, state in swept.items() if state.seen_ms >= horizon_ms}
            gone, swept = gone + len(swept) - len(staying), staying
    assert gone
