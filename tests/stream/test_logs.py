import logging

import pytest

from stream.logs import SAY_AGAIN_AFTER_S, Seldom


def record(name: str, line: int, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "file.py", line, message, (), None)


def test_a_talkative_library_says_the_same_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("stream.logs.time.monotonic", lambda: now)
    seldom = Seldom(SAY_AGAIN_AFTER_S)
    assert [seldom.filter(record("aiokafka.client", 7, f"node {n} is away")) for n in range(3)] == [True, False, False]
    assert seldom.filter(record("aiokafka.client", 8, "something else"))
    now += SAY_AGAIN_AFTER_S
    again = record("aiokafka.client", 7, "node 4 is away")
    assert seldom.filter(again)
    assert again.getMessage() == "node 4 is away similar_lines_kept_back=2"


def test_our_own_lines_all_come_through() -> None:
    seldom = Seldom(SAY_AGAIN_AFTER_S)
    assert all(seldom.filter(record("stream.worker", 7, "stopping")) for _ in range(3))
