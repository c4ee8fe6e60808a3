import pytest
from aiokafka.errors import KafkaConnectionError

from stream.errors import BrokerError, Defect
from stream.worker import _or_fail
from tests.stream.bench import Bench


async def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [(KafkaConnectionError("away"), BrokerError), (OSError("reset"), BrokerError), (KeyError(1), Defect)],
)
async def test_only_what_kafka_did_is_told_as_a_broken_connection(
    bench: Bench, error: Exception, kind: type[Exception]
) -> None:
    await _or_fail(raising(error), bench.application)
    assert isinstance(bench.application.failure.error, kind)
    assert bench.application.failure.error.__cause__ is error
