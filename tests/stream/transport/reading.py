"""A consumer that stands at certain offsets, with what aiokafka itself knows of them."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

Offsets = Mapping[TP, int]


def reading(
    positions: Mapping[TP, int | None], *, ends: Offsets, read: Offsets | None = None, committed: Offsets | None = None
) -> Any:
    """Return what takes the place of Faust's consumer. A position of None is not known yet."""
    state = SubscriptionState()
    state.subscribe({tp.topic for tp in positions})
    state.assign_from_subscribed(set(positions))
    for tp, position in positions.items():
        if position is not None:
            state.seek(tp, position)
    return SimpleNamespace(
        assignment=lambda: set(positions),
        highwater=ends.get,
        _read_offset=read or {},
        _committed_offset=committed or {},
        _thread=SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(_subscription=state)),
    )
