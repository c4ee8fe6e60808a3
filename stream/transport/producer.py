"""An idempotent producer. Stock Faust makes one only in its exactly-once mode, which we do not use.

Kafka then drops a record that is sent twice because its acknowledgement was lost, and a batch is retried until it is
taken, however long its broker is away.
"""

import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import UnknownError, UnsupportedVersionError
from faust.transport.drivers.aiokafka import Producer

log = logging.getLogger(__name__)


class IdempotentProducer(Producer):  # type: ignore[misc]
    """Faust's producer, acknowledged by all replicas and numbered, where the broker gives it a number."""

    mundane_level = "debug"
    _idempotent = True

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": self._idempotent}

    async def on_start(self) -> None:
        """Start it; without numbers on a broker that has none to give.

        The embedded broker (Tansu 0.6) answers an InitProducerId of aiokafka's version, 0, with an unknown error.
        A record may then stand twice in a topic after a lost connection: the same list under the same id.
        """
        try:
            await super().on_start()
        except (UnknownError, UnsupportedVersionError) as error:
            log.warning("broker gives no producer id, writing without idempotence error=%r", error)
            await self._producer.stop()
            self._idempotent = False
            await super().on_start()
