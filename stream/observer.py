"""Looks at a running worker a few times a second, for the probes and for the figures that nobody counts."""

import asyncio
import logging

from stream.app import Application
from stream.health import Health
from stream.metrics import Metrics
from stream.transport.offsets import lag, owned_partitions

INTERVAL_S = 0.25
LOG = logging.getLogger(__name__)


class Observer:
    """Tells the probes that the loop turns and what is ready, and says once on standard output that all is.

    Args:
        health: what the probes answer.
        metrics: gets lag and table size.
        url: where the metrics are, for the line on standard output.

    """

    def __init__(self, health: Health, metrics: Metrics, url: str) -> None:
        self._health = health
        self._metrics = metrics
        self._url = url
        self._was_ready = False
        self._shown: set[int] = set()
        self.application: Application | None = None
        """What is observed; None while it is prepared."""

    async def run(self) -> None:
        """Observe until cancelled."""
        while True:
            self._health.beat()
            if self.application is not None:
                self._observe_or_fail(self.application)
            await asyncio.sleep(INTERVAL_S)

    def _observe_or_fail(self, application: Application) -> None:
        # A task that dies is silent, and the probe would soon have the worker killed without a reason.
        try:
            self._observe(application)
        except Exception as error:
            LOG.debug("observer failed", exc_info=True)
            application.failure.set(error)

    def _observe(self, application: Application) -> None:
        recovered, shards = application.recovered, application.table.shards.values()
        self._health.set("tables", recovered and application.failure.error is None)
        self._metrics.sessions.set(sum(len(shard) for shard in shards))
        self._metrics.session_bytes.set(sum(shard.state_bytes for shard in shards))
        if recovered:
            self._observe_lag(application)
        if not self._was_ready and not self._health.missing:
            self._announce(application)

    def _observe_lag(self, application: Application) -> None:
        app, topic = application.faust, application.table.source.topic
        owned = owned_partitions(app, topic)
        for partition in self._shown.difference(owned):
            self._metrics.lag.remove(str(partition))
        self._shown.intersection_update(owned)
        for partition in owned:
            behind = lag(app, topic, partition, application.pipeline.finished.get(partition))
            if behind is not None:
                self._metrics.lag.labels(str(partition)).set(behind)
                self._shown.add(partition)

    def _announce(self, application: Application) -> None:
        self._was_ready = True
        source = application.table.source
        owned = len(owned_partitions(application.faust, source.topic))
        sessions = sum(len(shard) for shard in application.table.shards.values())
        print(
            f"nextclick worker ready: bundle={application.bundle_id} partitions={owned}/{source.partitions}"
            f" sessions={sessions} metrics={self._url}/metrics",
            flush=True,
        )
