from types import SimpleNamespace

from stream.errors import Defect, TopicError, as_sentence, place_of


def message(topic: str, partition: int, offset: int) -> SimpleNamespace:
    return SimpleNamespace(topic=topic, partition=partition, offset=offset)


def test_a_sentence_stays_as_it_is() -> None:
    error = TopicError("a sentence")
    assert as_sentence(error, "clicks partition 0 offset 1") is error


def test_what_nobody_expects_says_where_it_happened_and_what_to_do() -> None:
    found = as_sentence(KeyError("x"), "clicks partition 0 offset 1")
    assert isinstance(found, Defect)
    assert isinstance(found.__cause__, KeyError)
    assert "this is a bug in nextclick (KeyError: 'x') at clicks partition 0 offset 1" in str(found)
    assert "--debug" in str(found)
    assert " at " not in str(as_sentence(KeyError("x"))).partition(";")[0]


def test_places_are_grouped_by_partition() -> None:
    batch = [message("clicks", 0, 5), message("clicks", 1, 3), message("clicks", 0, 9)]
    assert place_of(batch) == "clicks partition 0 offsets 5 to 9, clicks partition 1 offset 3"
