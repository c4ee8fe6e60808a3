import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError
from msgspec.structs import replace

from stream.transport.producer import (
    BULK_FROM,
    PROMPT_BELOW,
    PUMP_S,
    OffsetReceipt,
    Outgoing,
    Producer,
    Receipt,
)
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
async def producer(bench: Bench) -> AsyncIterator[Producer]:
    """A started producer with librdkafka's own broker, in this process."""
    app = bench.application.faust
    broker = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    (found,) = broker.list_topics(timeout=20).brokers.values()
    app.producer_options = {**app.producer_options, "bootstrap.servers": f"{found.host}:{found.port}"}
    made = Producer(app.transport)
    await made.on_start()
    yield made
    del broker  # it ends with its client


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


async def test_lists_keep_their_order_one_by_one_or_in_a_backlog(producer: Producer) -> None:
    sizes = [1, BULK_FROM, BULK_FROM // 2, PROMPT_BELOW - 1, 1, 2 * BULK_FROM, 1]
    written: list[tuple[int, bytes]] = []
    clients: list[object] = []

    class Noting(Receipt):
        def __call__(self, error: Any, message: Any) -> None:
            assert error is None
            written.append((message.offset(), message.value()))
            super().__call__(error, message)

    for number, size in enumerate(sizes):
        producer.write([Outgoing("lists", b"k", b"%d" % number, 0)] * size, Noting(size, lambda _: None))
        clients.append(producer._in_use)
    async with asyncio.timeout(20):
        while len(written) < sum(sizes):
            clients.append(producer._in_use)
            await asyncio.sleep(PUMP_S)
    values = [value for _, value in sorted(written)]
    assert values == [b"%d" % number for number, size in enumerate(sizes) for _ in range(size)]
    assert {id(client) for client in clients} == {id(producer._prompt), id(producer._bulk)}


async def test_what_is_held_is_made_when_its_turn_comes_and_not_where_it_is_forgotten(
    producer: Producer,
) -> None:
    made: list[int] = []
    receipts = [asyncio.get_running_loop().create_future() for _ in range(3)]

    def records(number: int) -> Iterator[Outgoing]:
        made.append(number)
        yield A

    producer.write([A] * BULK_FROM, Receipt(BULK_FROM, receipts[0].set_result))
    producer.write(records(1), Receipt(1, receipts[1].set_result))
    assert made == []
    async with asyncio.timeout(20):
        assert (await receipts[1]).refused is None
    assert (made, receipts[0].done()) == ([1], True)
    producer.write([A] * BULK_FROM, Receipt(BULK_FROM, receipts[2].set_result))
    producer.write(records(2), Receipt(1, lambda _: pytest.fail("it was written")))
    producer.forget()
    async with asyncio.timeout(20):
        await receipts[2]
    assert made == [1]


async def test_states_wait_for_no_list_and_no_list_for_states(producer: Producer) -> None:
    states, lists = [replace(B, partition=0)] * BULK_FROM, [A]
    receipts = [asyncio.get_running_loop().create_future() for _ in range(2)]
    producer.write_patiently(states, OffsetReceipt(states, receipts[0].set_result))
    producer.write(lists, Receipt(1, receipts[1].set_result))
    assert producer._in_use is producer._prompt
    assert not producer._held
    async with asyncio.timeout(20):
        assert [receipt.refused for receipt in await asyncio.gather(*receipts)] == [None, None]


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
