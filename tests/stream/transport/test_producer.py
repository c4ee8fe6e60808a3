import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream.transport.producer import PUMP_S, OffsetReceipt, Outgoing, Producer, Receipt
from tests.stream.bench import Bench, Written

A, B = Outgoing("lists", b"k", b"value", 0), Outgoing("states", b"k", b"a long value", 0)


def test_a_receipt_is_done_once_when_the_last_report_has_come() -> None:
    done: list[Receipt] = []
    receipt = Receipt(3, done.append)
    for _ in range(2):
        receipt(None, Written(A, 0))
    assert done == []
    receipt(None, Written(A, 0))
    assert done == [receipt]
    assert receipt.refused is None


def test_a_receipt_tells_the_first_of_several_errors() -> None:
    done: list[Receipt] = []
    receipt = Receipt(3, done.append)
    receipt(None, Written(A, 0))
    receipt(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Written(B, 0))
    assert done == []  # the others may still be written
    receipt(KafkaError(KafkaError._MSG_TIMED_OUT), Written(A, 0))
    assert done == [receipt]
    assert receipt.refused is not None
    assert receipt.refused.startswith("topic states did not take a record of 12 bytes (")
    assert "MSG_SIZE_TOO_LARGE" in receipt.refused


def test_a_receipt_knows_where_its_records_are_unless_others_are_between_them() -> None:
    records = [Outgoing("states", b"k", b"v", partition) for partition in (0, 1, 0, 1, 2)]
    receipt = OffsetReceipt(records, lambda done: None)
    for record, offset in zip(records, (4, 8, 5, 10, 3), strict=True):
        receipt(None, Written(record, offset))
    assert list(receipt.stretches()) == [(0, 4, 5), (2, 3, 3)]


@pytest.fixture
async def producer(bench: Bench) -> Producer:
    """A started producer whose librdkafka has a broker of its own, in this process."""
    app = bench.application.faust
    app.producer_options = {**app.producer_options, "test.mock.num.brokers": 1}
    made = Producer(app.transport)
    await made.on_start()
    return made


async def receipt_for(producer: Producer, *records: Outgoing, make: Callable[..., Receipt] = Receipt) -> Any:
    done = asyncio.get_running_loop().create_future()
    receipt = make(len(records) if make is Receipt else records, done.set_result)
    producer.write(records, receipt)
    async with asyncio.timeout(20):
        return await done


async def test_reports_come_though_nobody_asks_for_them(producer: Producer) -> None:
    records = [Outgoing("states", b"k", b"v", 1, [("header", b"value")]), Outgoing("states", b"k", None, 1)]
    for oldest in (0, 2):
        receipt = await receipt_for(producer, *records, make=OffsetReceipt)
        assert receipt.refused is None
        assert list(receipt.stretches()) == [(1, oldest, oldest + 1)]


async def test_nothing_is_asked_when_nothing_is_waited_for(producer: Producer) -> None:
    await receipt_for(producer, A)
    async with asyncio.timeout(20):
        while producer._timer is not None:  # librdkafka may have something to log
            await asyncio.sleep(PUMP_S)


async def test_what_a_receipt_leads_to_may_fail_and_is_told(producer: Producer, bench: Bench) -> None:
    def fail(receipt: Receipt) -> None:
        raise ZeroDivisionError("a fault")

    producer.write([A], Receipt(1, fail))
    async with asyncio.timeout(20):
        await bench.application.failure.happened.wait()
    assert "a fault" in str(bench.failure)
