"""A recovery that goes on when its broker has been away.

Faust gives each step of a recovery (asking for the changelog's ends, seeking to committed offsets) as long as a request
may take. It takes a step that was too slow for a service that was stopped (`Service.wait_first`, mode 0.7.1, says the
same of both) and ends the task that recovers, for good and without a word: the worker keeps its place in the group and
its partitions, sends heartbeats, and never reads a click again. A broker that does not answer for a minute is enough.

Here a step takes as long as it takes. What it waits for is either answered in the end, or raises an error that ends the
worker, or a rebalance begins the recovery anew.
"""

import logging
from typing import Any

from faust.tables.manager import TableManager as StockTableManager
from faust.tables.recovery import Recovery as StockRecovery

# A service logs under the name of the module that its class is in; what these say is Faust's still.
LOG = logging.getLogger("faust.recovery")


class Recovery(StockRecovery):  # type: ignore[misc]
    """Faust's recovery without a limit for its steps."""

    logger = LOG

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        await super()._wait(coro)


class TableManager(StockTableManager):  # type: ignore[misc]
    """Faust's table manager with our recovery."""

    logger = LOG
    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        """The service that recovers."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        recovery: Recovery = self._recovery
        return recovery
