"""What is wrong with a service's topics, found from what a broker tells."""

from hypothesis import given
from hypothesis import strategies as st

from stream.contract.specs import (
    FoundTopic,
    changelog_name,
    find_problems,
    min_compaction_lag_ms,
    missing_topics,
    topic_specs,
)
from stream.settings import Settings

SETTINGS = Settings()
CHANGELOG = "nextclick-sessions-changelog"


def as_made(settings: Settings = SETTINGS) -> dict[str, FoundTopic]:
    return {spec.name: FoundTopic(spec.partitions, 1, "id", spec.config) for spec in topic_specs(settings)}


def test_topics_as_they_are_made_have_no_problem() -> None:
    assert find_problems(SETTINGS, as_made()) == []
    assert missing_topics(SETTINGS, as_made()) == []


def test_the_changelog_is_that_of_the_workers_session_table() -> None:
    assert changelog_name(SETTINGS) == CHANGELOG


def test_each_missing_topic_is_a_problem_with_its_setting() -> None:
    problems = find_problems(SETTINGS, {})
    assert len(problems) == len(topic_specs(SETTINGS)) == 8
    assert problems[2] == (
        "topic dead-letters (topics.dead_letters) does not exist; `nextclick topics create` makes it"
    )


@given(clicks=st.integers(1, 50), changelog=st.integers(1, 50))
def test_clicks_and_changelog_must_have_the_same_number_of_partitions(clicks: int, changelog: int) -> None:
    found = as_made()
    found["clicks"] = found["clicks"]._replace(partitions=clicks)
    found[CHANGELOG] = found[CHANGELOG]._replace(partitions=changelog)
    problems = find_problems(SETTINGS, found)
    assert len(problems) == (clicks != changelog)
    if problems:
        assert f"clicks has {clicks} partitions and {CHANGELOG} has {changelog}" in problems[0]


def test_the_changelog_is_made_to_fit_clicks_that_are_there_already() -> None:
    found = {"clicks": FoundTopic(7, 1, None, {})}
    partitions = {spec.name: spec.partitions for spec in missing_topics(SETTINGS, found)}
    assert partitions[CHANGELOG] == 7
    assert partitions["recommendations"] == 4
    assert "clicks" not in partitions


def test_a_policy_that_removes_what_is_needed_is_a_problem() -> None:
    found = as_made()
    found["clicks"] = found["clicks"]._replace(config={"cleanup.policy": "compact"})
    found[CHANGELOG] = found[CHANGELOG]._replace(config={"cleanup.policy": "compact,delete"})
    first, second = find_problems(SETTINGS, found)
    assert first.startswith("topic clicks has cleanup.policy=compact, but must have delete")
    assert second.startswith(f"topic {CHANGELOG} has cleanup.policy=compact,delete, but must have compact")


def test_clicks_with_the_producers_clocks_are_told() -> None:
    found = as_made()
    found["clicks"] = found["clicks"]._replace(config={"message.timestamp.type": "CreateTime"})
    (problem,) = find_problems(SETTINGS, found)
    assert problem.startswith("topic clicks has message.timestamp.type=CreateTime, but must have LogAppendTime")


def test_states_stay_for_session_gap_and_session_timeout_together() -> None:
    settings = Settings.model_validate({"serving": {"session_gap_s": 60}, "worker": {"session_timeout_s": 7}})
    assert min_compaction_lag_ms(settings) == (60 + 7) * 1000
    found = as_made(settings)
    short = found[CHANGELOG].config | {"min.compaction.lag.ms": str((60 + 7) * 1000 - 1)}
    found[CHANGELOG] = found[CHANGELOG]._replace(config=short)
    (problem,) = find_problems(settings, found)
    assert "has min.compaction.lag.ms=66999, but must have at least 67000" in problem


def test_a_control_topic_has_one_partition() -> None:
    found = as_made()
    found["rules"] = found["rules"]._replace(partitions=2)
    (problem,) = find_problems(SETTINGS, found)
    assert problem.startswith("topic rules has 2 partitions, but must have one")
    assert problem.endswith("or set topics.rules to a new name")


def test_what_a_broker_does_not_tell_is_no_problem() -> None:
    assert find_problems(SETTINGS, {name: topic._replace(config={}) for name, topic in as_made().items()}) == []
