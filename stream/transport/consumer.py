"""A consumer whose fetches wait for as long as we say. Faust asks every broker to hold an empty fetch for 1.5 s.

Kafka answers a waiting fetch as soon as a record arrives, so its wait costs nothing. Tansu, the embedded broker, looks
again only twice in the time that it was told to wait: measured with kafka-python at 200 clicks/s, the median click
arrived after 130 ms of a wait of 500 ms, and after 4 ms of one of 10 ms.
"""

from typing import Any

from faust.transport.drivers import aiokafka as stock


class ConsumerThread(stock.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, with another wait."""

    mundane_level = "debug"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_max_wait_ms
        return consumer


class Consumer(stock.Consumer):  # type: ignore[misc]
    """Faust's consumer on that thread."""

    mundane_level = "debug"

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)
