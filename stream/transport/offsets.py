"""What Faust's consumer knows about offsets, and keeps to itself."""

import faust
from faust.types import TP


def committed_offset(app: faust.App, topic: str, partition: int) -> int:
    """Return the offset that the partition would be read from again, 0 where nothing was committed."""
    return app.consumer._committed_offset.get(TP(topic, partition)) or 0


def owned_partitions(app: faust.App, topic: str) -> list[int]:
    """Return the partitions of the topic that this worker has now."""
    return sorted(tp.partition for tp in app.consumer.assignment() if tp.topic == topic)


def lag(app: faust.App, topic: str, partition: int, position: int | None) -> int | None:
    """Return how many records of the partition lie at or after `position`, None where that is not known yet.

    Without a position of our own it is that of the last commit.
    """
    end = app.consumer.highwater(TP(topic, partition))
    if end is None:
        return None
    return max(0, int(end) - (committed_offset(app, topic, partition) if position is None else position))


def abandon(app: faust.App) -> None:
    """Forget the events in hand, so that a stop does not wait for their acknowledgement, which will not come.

    They stay uncommitted, and are read again by whoever gets the partition.
    """
    app.consumer._unacked_messages.clear()
