"""`nextclick` whose worker neither encodes nor searches: every list is one of a thousand that were made beforehand.

A list comes as the JSON of its items, as from the real recommender, and the states carry what an encoder of 64 numbers
would leave in them. All the rest is the real worker.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

import stream.worker
from deploy.cli import main
from serving.encoders import Reading, RowsOf
from serving.events import Reason, RecommendedItem
from serving.recommender import RankedList, Recommender, Vectors
from serving.session import Carried, Moment

LISTS = 1_000
CARRIED = bytes(np.random.default_rng(0).standard_normal(64, np.float32).tobytes())


class NullEncoder:
    """Gives every session the same vector."""

    carries = True

    def __init__(self, bundle: str, dim: int) -> None:
        self._bundle = bundle
        self._vector = np.zeros(dim, np.float32)

    def encode(self, readings: Sequence[Reading], rows_of: RowsOf) -> tuple[Vectors, list[bool]]:
        count = 0
        for reading in readings:
            count += len(reading.moments)
            reading.carried = [Carried(self._bundle, 0, CARRIED)]
        return np.broadcast_to(self._vector, (count, len(self._vector))), [True] * count


class NullRecommender(Recommender):
    """Gives prepared lists, one after the other."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        object.__setattr__(
            self.bundle, "encoder", NullEncoder(self.bundle.id, self.bundle.manifest.session_encoder.dim)
        )
        items, choose = self.bundle.catalogue.item_ids[1:], random.Random(0)
        self._lists = [_list(choose, items, self.settings.list_size) for _ in range(LISTS)]
        self._next = 0

    def recommend(self, moments: Sequence[Moment], vectors: Vectors, known: Sequence[bool]) -> list[RankedList]:
        first = self._next
        self._next = (first + len(moments)) % LISTS
        return [self._lists[(first + i) % LISTS] for i in range(len(moments))]


def _list(choose: random.Random, items: Sequence[str], size: int) -> RankedList:
    scores = sorted((round(choose.uniform(0.3, 0.9), 6) for _ in range(size)), reverse=True)
    chosen = choose.sample(items, size)
    because = [Reason("session", [choose.choice(items)]) for _ in range(size)]
    return RankedList.of("encoder", [RecommendedItem(*place) for place in zip(chosen, scores, because, strict=True)])


if __name__ == "__main__":
    vars(stream.worker)["Recommender"] = NullRecommender
    main()
