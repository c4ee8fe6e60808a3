"""The oracle folds what it is told to, and no broken promise passes the verdict: each is broken here once."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from serving.bundle import load_bundle
from serving.control import Control
from serving.events import encode_recommendation
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState, decode_state, encode_state
from serving.settings import ServingSettings
from stream.contract import reasons
from stream.contract.codecs import decode_record
from stream.contract.dead_letter import Cause, dead_letter_headers
from tests.end_to_end.chaos import verdict as judged
from tests.end_to_end.chaos.__main__ import ROUNDS_FOR_ALL, conclude
from tests.end_to_end.chaos.clickstream import EXPIRY_GRACE_S, SESSION_GAP_S, SESSION_LENGTH, ClickStream
from tests.end_to_end.chaos.faults import FAULTS
from tests.end_to_end.chaos.oracle import Expected, expect
from tests.end_to_end.chaos.plan import plans
from tests.end_to_end.chaos.rounds import Outcome
from tests.end_to_end.chaos.topics import Record
from tests.end_to_end.chaos.verdict import Found, Verdict
from tests.end_to_end.chaos.watch import Sample, count_in

TOPIC = "clicks"
NOW_MS = 1_790_000_000_000
SETTINGS = ServingSettings(session_gap_s=SESSION_GAP_S, session_length=SESSION_LENGTH)


@pytest.fixture(scope="module")
def recommender(tiny_bundle: Path) -> Recommender:
    return Recommender(load_bundle(tiny_bundle), SETTINGS)


def log_of(clicks: int) -> list[Record]:
    """What the generator sends, as one partition that gets a record each millisecond and a half."""
    stream = ClickStream(seed=3, phase="a", partitions=1)
    sent = (stream.next(NOW_MS + n * 3 // 2) for n in range(clicks))
    return [
        Record(0, offset, NOW_MS + offset * 3 // 2, record.key, record.value, list(record.headers))
        for offset, record in enumerate(sent)
    ]


def expected_of(clicks: list[Record], recommender: Recommender) -> Expected:
    return expect(clicks, recommender, gap_s=SESSION_GAP_S, length=SESSION_LENGTH)


def served(clicks: list[Record], expected: Expected, recommender: Recommender) -> Found:
    """What a faultless service makes of the log, by the pipeline's own arithmetic."""
    lists: list[Record] = []
    changelog: list[Record] = []
    letters: list[Record] = []
    states: dict[str, SessionState] = {}
    for record in clicks:
        if reason := expected.letters.get(record.place):
            headers = dead_letter_headers(record.headers, Cause(reason, "why", TOPIC, *record.place))
            letters.append(Record(0, len(letters), 0, record.key, record.value, list(headers)))
            continue
        click = decode_record(record.key, record.value, record.headers)
        result = process(states, [Sourced(click, record.offset, record.timestamp_ms)], recommender, Control())
        for session, state in result.states.items():
            states[session] = state
            changelog.append(Record(0, len(changelog), 0, session.encode(), encode_state(state), []))
        for answer in result.lists:
            value = encode_recommendation(answer.recommendation)
            lists.append(Record(0, len(lists), record.timestamp_ms, record.key, value, []))
    return Found(clicks, [], lists, letters, changelog)


def judge(found: Found, expected: Expected, samples: list[Sample] | None = None) -> Verdict:
    verdict = Verdict()
    lists = judged.check_lists(found, expected, Expected(), verdict)
    letters = judged.check_letters(found, expected, Expected(), TOPIC, verdict)
    written = judged.check_states(found, expected, (SESSION_GAP_S + EXPIRY_GRACE_S) * 1000, verdict)
    judged.check_commits(samples or [], found, expected, lists, letters, written, verdict)
    return verdict


@pytest.fixture(scope="module")
def clicks() -> list[Record]:
    return log_of(6_000)


@pytest.fixture(scope="module")
def expected(clicks: list[Record], recommender: Recommender) -> Expected:
    return expected_of(clicks, recommender)


@pytest.fixture(scope="module")
def found(clicks: list[Record], expected: Expected, recommender: Recommender) -> Found:
    return served(clicks, expected, recommender)


def at_the_end(found: Found, committed: int) -> Sample:
    return Sample(
        0.0,
        {0: committed},
        {0: len(found.clicks)},
        {0: len(found.recommendations)},
        {0: len(found.dead_letters)},
        {0: len(found.changelog)},
    )


def test_the_oracle_and_the_service_agree_on_a_difficult_log(found: Found, expected: Expected) -> None:
    assert not judge(found, expected, [at_the_end(found, len(found.clicks))]).broken
    assert len(expected.letters) > 100
    assert len(expected.duplicates) > 20
    assert set(expected.letters.values()) > {reasons.EMPTY, reasons.NOT_JSON, reasons.INVALID, reasons.MISSING_KEY}
    assert any(session.count > SESSION_LENGTH for session in expected.sessions.values())


def without(records: list[Record], at: int) -> list[Record]:
    return [*records[:at], *records[at + 1 :]]


def with_state(record: Record, change: Callable[[SessionState], None]) -> Record:
    state = decode_state(record.value or b"")
    change(state)
    return record._replace(value=encode_state(state))


def counted_twice(state: SessionState) -> None:
    state.count += 1


BREAKS: dict[str, tuple[Callable[[Found], Found], str]] = {
    "a list is missing": (
        lambda found: found._replace(recommendations=without(list(found.recommendations), 7)),
        judged.LOST,
    ),
    "a copy of a list differs": (
        lambda found: found._replace(
            recommendations=[
                *found.recommendations,
                found.recommendations[3]._replace(value=(found.recommendations[3].value or b"") + b" "),
            ]
        ),
        judged.DIFFERING,
    ),
    "a list is another one": (
        lambda found: found._replace(
            recommendations=[
                record._replace(value=(record.value or b"") + b" ") if number == 3 else record
                for number, record in enumerate(found.recommendations)
            ]
        ),
        judged.WRONG,
    ),
    "a list answers nothing": (
        lambda found: found._replace(
            recommendations=[
                *found.recommendations,
                Record(0, 10**6, 0, b"s1", b'{"recommendation_id":"x","session_id":"s1","trigger_event_id":"a"}', []),
            ]
        ),
        judged.UNEXPECTED,
    ),
    "a dead letter is missing": (
        lambda found: found._replace(dead_letters=without(list(found.dead_letters), 0)),
        judged.LETTERS_LOST,
    ),
    "a dead letter has other bytes": (
        lambda found: found._replace(
            dead_letters=[*found.dead_letters, found.dead_letters[0]._replace(value=b"something else")]
        ),
        judged.LETTERS_WRONG,
    ),
    "a valid click is a dead letter too": (
        lambda found: found._replace(
            dead_letters=[
                *found.dead_letters,
                found.clicks[0]._replace(
                    headers=list(dead_letter_headers([], Cause("empty", "why", TOPIC, *found.clicks[0].place)))
                ),
            ]
        ),
        judged.LETTERS_WRONG,
    ),
    "a click counts twice": (
        lambda found: found._replace(changelog=[*found.changelog[:-1], with_state(found.changelog[-1], counted_twice)]),
        judged.STATES,
    ),
    "a session's last state is missing": (
        lambda found: found._replace(changelog=found.changelog[:-1]),
        judged.STATES,
    ),
    "a session is deleted that may still be needed": (
        lambda found: found._replace(
            changelog=[*found.changelog, found.changelog[-1]._replace(offset=len(found.changelog), value=None)]
        ),
        judged.STATES,
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_seen(name: str, found: Found, expected: Expected) -> None:
    broken, promise = BREAKS[name]
    assert judge(broken(found), expected).broken[promise]


@pytest.mark.parametrize("field", ["recommendations", "dead_letters", "changelog"])
def test_a_commit_before_its_effect_is_seen(field: str, found: Found, expected: Expected) -> None:
    sample = at_the_end(found, len(found.clicks))
    early = Sample(**(sample._asdict() | {field: {0: len(getattr(found, field)) - 1}}))
    assert judge(found, expected, [early]).broken[judged.COMMITTED] == 1
    assert not judge(found, expected, [early._replace(committed={0: 0})]).broken


def test_a_commit_that_names_another_topic_does_not_count() -> None:
    found = [
        TopicPartition(TOPIC, 0, 1_161, metadata="topic_id=an-earlier-one"),
        TopicPartition(TOPIC, 1, 400, metadata="topic_id=this-one"),
        TopicPartition(TOPIC, 2, 300, metadata=""),
        TopicPartition(TOPIC, 3, 200),
        TopicPartition(TOPIC, 4, -1001),
        TopicPartition(TOPIC, 5, 100, metadata="topic_id=this-one12"),  # as confluent-kafka reads some of them
    ]
    assert count_in("this-one", found) == {1: 400, 2: 300, 3: 200, 5: 100}


def test_a_commit_beyond_the_end_of_a_partition_hides_no_click_that_waits() -> None:
    ends = {0: 500, 1: 700}
    sample = Sample(0.0, {0: 1_161, 1: 39}, ends, {}, {}, {})
    assert sample.lag == 500 + (700 - 39)
    assert sample._replace(committed=ends).lag == 0


def outcomes(number: int, *injected: str) -> list[Outcome]:
    (plan,) = islice(plans(1, ["kill"]), 1)
    return [Outcome(plan, injected=set(injected)) for _ in range(number)]


@pytest.mark.parametrize(
    ("played", "code"),
    [
        (outcomes(ROUNDS_FOR_ALL, "kill", "join"), 0),
        (outcomes(ROUNDS_FOR_ALL, "kill"), 1),
        (outcomes(ROUNDS_FOR_ALL - 1, "kill"), 0),
    ],
    ids=["all happened", "one never happened", "too few rounds to tell"],
)
def test_many_rounds_prove_nothing_of_a_fault_that_never_happened(
    played: list[Outcome], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conclude(played, len(played), ["kill", "join"]) == code
    *_, last_but_one, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(played)} passed, 0 failed"
    assert ("never injected" in last_but_one) == all("join" not in outcome.injected for outcome in played)


def test_rounds_that_were_not_played_have_not_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(outcomes(2, "kill"), 3, ["kill"]) == 1
    assert capsys.readouterr().out.endswith("2 passed, 0 failed\n")


def test_an_older_state_that_is_written_late_changes_nothing(found: Found, expected: Expected) -> None:
    late = [record._replace(offset=len(found.changelog) + n) for n, record in enumerate(found.changelog[:50])]
    assert not judge(found._replace(changelog=[*found.changelog, *late]), expected).broken


def test_the_longest_silence_is_that_of_the_quietest_partition() -> None:
    times = {0: [100, 200, 300, 400], 1: [100, 390]}
    assert judged.longest_silence_s(times, 100, 450) == 0.29
    assert judged.longest_silence_s(times, 100, 4_390) == 4.0


def test_every_fault_comes_about_as_often_as_the_others() -> None:
    rounds = [
        plan for plan, _ in zip(plans(5, ["kill", "broker", "join", "clicks-made-again"]), range(40), strict=False)
    ]
    drawn = [name for plan in rounds for name in plan.faults]
    counts = {name: drawn.count(name) for name in set(drawn)}
    assert len(counts) == 4
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(plan.faults) == 1 for plan in rounds if "clicks-made-again" in plan.faults)


def test_two_faults_of_a_round_leave_each_other_room() -> None:
    pairs = [plan.faults for plan in islice(plans(1, list(FAULTS)), 300) if len(plan.faults) == 2]
    assert len(pairs) > 50
    assert all(FAULTS[one].fits(FAULTS[other]) for one, other in pairs)
    assert not any({"broker", "stall"} <= {*pair} or "clicks-made-again" in pair for pair in pairs)


def test_the_same_seed_gives_the_same_rounds_and_clicks() -> None:
    rounds, again, others = (list(islice(plans(seed, ["kill", "broker", "join"]), 9)) for seed in (5, 5, 6))
    assert rounds == again
    assert [plan.faults for plan in rounds] != [plan.faults for plan in others]
    assert log_of(500) == log_of(500)
