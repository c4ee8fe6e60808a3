"""What the pipeline needs of a running Faust application, and no more: writing, membership, offsets."""

from collections.abc import Iterable, Sequence

import faust
from faust.types import TP

from stream.transport.offsets import owned_partitions, read_position
from stream.transport.producer import OffsetReceipt, Outgoing, Receipt


class Link:
    """The Kafka side of a pipeline.

    Args:
        app: the Faust application; what is asked here is asked after it was started.
        clicks: the topic that is read.
        changelog: the topic of the session table.

    """

    def __init__(self, app: faust.App, clicks: str, changelog: str) -> None:
        self._app = app
        self._clicks = clicks
        self._changelog = changelog

    @property
    def fresh(self) -> bool:
        """Whether this worker may take its partitions for its own, and produce (`stream.transport.membership`)."""
        return bool(self._app.consumer._thread.membership.fresh)

    def write(self, records: Iterable[Outgoing], receipt: Receipt) -> None:
        """Hand records to Kafka's producer that somebody waits for; `receipt` gets a delivery report for each."""
        self._app.producer.write(records, receipt)

    def write_patiently(self, records: Sequence[Outgoing], receipt: Receipt) -> None:
        """Hand records over that nobody waits for: they may take some milliseconds more."""
        self._app.producer.write_patiently(records, receipt)

    def forget(self) -> None:
        """Drop what was handed over and not sent yet, as far as that is possible."""
        self._app.producer.forget()

    def committed(self, partition: int) -> int:
        """Return the offset that the partition of the clicks would be read from again."""
        return self._app.consumer._committed_offset.get(TP(self._clicks, partition)) or 0

    async def commit(self) -> None:
        """Commit what is finished, now."""
        await self._app.consumer.commit()

    def log_end(self, partition: int) -> int | None:
        """Return the offset that the partition's next click will get, as far as the last fetch told."""
        end: int | None = self._app.consumer.highwater(TP(self._clicks, partition))
        return end

    def lag(self) -> int:
        """Return how many clicks wait at the brokers, as far as the last fetches told.

        A partition of which it is not known yet where it is read from is left out: it would seem to wait as a whole.
        """
        waiting = 0
        for partition in owned_partitions(self._app, self._clicks):
            end, position = self.log_end(partition), read_position(self._app, self._clicks, partition)
            if end is not None and position is not None:
                waiting += max(0, end - position)
        return waiting

    def in_changelog(self, receipt: OffsetReceipt) -> dict[int, int]:
        """Return, by partition, up to which offset the table now holds the changelog, where that is known.

        It is known where what this worker wrote follows, without a hole, what it had read or written before: else
        another worker has written there too, and what it wrote must be read. Faust begins its next recovery from there;
        without this it would read again, at each rebalance, all that was written since the last one.
        """
        known = self._app.tables.recovery.active_offsets
        followed: dict[int, int] = {}
        for partition, oldest, newest in receipt.stretches():
            tp = TP(self._changelog, partition)
            if known.get(tp) == oldest - 1:
                known[tp] = followed[partition] = newest
        return followed
