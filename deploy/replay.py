"""Publishing clicks to Kafka at a steady rate, with kafka-python, as a producer of the service would."""

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from serving.events import Click, encode_click
from stream.errors import BrokerError
from stream.settings import KafkaSettings

# Without an answer from Kafka for so long, a click counts as not sent.
DELIVERY_TIMEOUT_S = 60


def replay_clicks(
    clicks: Sequence[Click],
    kafka: KafkaSettings,
    topic: str,
    *,
    rate: float,
    on_sent: Callable[[Click], None] = lambda _: None,
    stop: Event | None = None,
) -> int:
    """Send clicks in their order, keyed by session id, and return how many Kafka has acknowledged.

    An open loop: click i is due `i / rate` seconds after the first, whatever became of the others; `rate` 0 sends as
    fast as Kafka takes them. `on_sent` is called right before each click is handed over. `stop` ends the replay early,
    with what has been sent acknowledged.

    Raises:
        BrokerError: Kafka did not take a click.

    """
    stop = stop or Event()
    try:
        producer = KafkaProducer(**kafka.client_options(), delivery_timeout_ms=DELIVERY_TIMEOUT_S * 1000)
    except KafkaError as error:
        raise BrokerError(f"Kafka at {kafka.bootstrap_servers} is not reached ({error}); is a broker there?") from error
    futures: list[Any] = []
    try:
        began = time.monotonic()
        for i, click in enumerate(clicks):
            # Waiting for `stop` is sleeping that can be interrupted.
            if stop.wait(max(0.0, began + i / rate - time.monotonic()) if rate else 0.0):
                break
            on_sent(click)
            futures.append(producer.send(topic, key=click.session_id.encode(), value=encode_click(click)))
        for future in futures:
            future.get(timeout=DELIVERY_TIMEOUT_S)
    except KafkaError as error:
        raise BrokerError(f"topic {topic} at {kafka.bootstrap_servers} did not take every click ({error})") from error
    finally:
        producer.close()
    return len(futures)
