"""The counters again, written down as the papers say them, with dictionaries, one session at a time."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from training.counters import ItemKnnConfig, SequentialRulesConfig, SessionKnnConfig

Sessions = Sequence[Sequence[int]]
Counts = dict[int, float]
DAY_MS = 24 * 3600 * 1000


def weights_of(aging: Sequence[object], half_life_days: float | None, times_ms: Sequence[int]) -> list[float]:
    if half_life_days is None:
        return [1.0] * len(aging)
    return [2 ** (-(max(times_ms) - time) / DAY_MS / half_life_days) for time in times_ms]


def known(session: Sequence[int]) -> list[int]:
    return [row for row in session if row]


def heaviest(counts: Counts, most: int) -> Counts:
    best = sorted(counts, key=lambda row: (-np.float32(counts[row]), row))[:most]
    return {row: counts[row] for row in best}


def sequential_rules(sessions: Sessions, config: SequentialRulesConfig, ends_ms: Sequence[int]) -> dict[int, Counts]:
    table: dict[int, Counts] = defaultdict(lambda: defaultdict(float))
    for session, weight in zip(sessions, weights_of(sessions, config.half_life_days, ends_ms), strict=True):
        rows = known(session)
        for place, first in enumerate(rows):
            for gap in range(1, config.steps + 1):
                if place + gap < len(rows):
                    table[first][rows[place + gap]] += weight / gap**config.gap_power
    clicks: Counts = defaultdict(float)
    for session, weight in zip(sessions, weights_of(sessions, config.half_life_days, ends_ms), strict=True):
        for row in known(session):
            clicks[row] += weight
    rules = {}
    for first, counts in table.items():
        total = sum(counts.values()) ** config.normalise
        said = {row: (count / total) ** config.power / clicks[row] ** config.rarity for row, count in counts.items()}
        rules[first] = heaviest(said, config.followers)
    return rules


def item_knn(sessions: Sessions, config: ItemKnnConfig, ends_ms: Sequence[int]) -> dict[int, Counts]:
    together: dict[int, Counts] = defaultdict(lambda: defaultdict(float))
    support: Counts = defaultdict(float)
    for session, weight in zip(sessions, weights_of(sessions, config.half_life_days, ends_ms), strict=True):
        distinct = list(last_places(session, config.longest))
        for one in distinct:
            support[one] += weight
            for other in distinct:
                if one != other:
                    together[one][other] += weight
    table = {}
    for one, counts in together.items():
        own = (support[one] + config.shrinkage) ** config.alpha
        scaled = {
            other: count / (own * (support[other] + config.shrinkage) ** (1 - config.alpha))
            for other, count in counts.items()
        }
        table[one] = heaviest(scaled, config.followers)
    return table


def look_up(table: dict[int, Counts], window: int, decay: float, session: Sequence[int]) -> Counts:
    votes: Counts = defaultdict(float)
    for age, row in enumerate(known(session[-window:])[::-1]):
        for other, weight in table.get(row, {}).items():
            votes[other] += weight * decay**age
    return dict(votes)


def last_places(session: Sequence[int], longest: int) -> dict[int, int]:
    """Return the place of the last click on each item, of the newest items only."""
    places = {row: place for place, row in enumerate(known(session))}
    newest = sorted(places, key=lambda row: -places[row])[:longest]
    return {row: places[row] for row in newest}


def session_knn(sessions: Sessions, config: SessionKnnConfig, ends_ms: Sequence[int], session: Sequence[int]) -> Counts:
    oldest_first = sorted(range(len(sessions)), key=lambda i: ends_ms[i])
    decayed = weights_of(sessions, config.half_life_days, ends_ms)
    training = [last_places(sessions[i], config.longest) for i in oldest_first]
    age_weights = [np.float32(decayed[i]) for i in oldest_first]
    read = known(session[-config.window :])[::-1]
    ages = {row: age for age, row in reversed(list(enumerate(read)))}
    newest_first = sorted(ages, key=lambda row: ages[row])
    similar = {}
    candidates = [number for number, places in enumerate(training) if ages.keys() & places.keys()][-config.sample :]
    recency = {row: _recency(config, age, len(read)) for row, age in ages.items()}
    if config.similarity == "dot":
        scale = 1 / len(ages) if ages else 1.0
    else:
        scale = 1 / math.sqrt(sum(recency[row] * recency[row] for row in newest_first)) if ages else 1.0
    for number in candidates:
        common = sum(recency[row] for row in newest_first if row in training[number])
        size = math.sqrt(len(training[number])) if config.similarity == "cosine" else 1.0
        similar[number] = np.float32(common * (scale * (float(age_weights[number]) / size)))
    nearest = sorted(similar, key=lambda number: (-similar[number], -number))[: config.neighbours]
    votes: Counts = defaultdict(float)
    for number in nearest:
        places = training[number]
        common_items = [row for row in newest_first if row in places]
        match = _match(config, ages[common_items[0]])
        last = max(places[row] for row in common_items)
        for row, place in places.items():
            near = 1.0 if config.nearby_scale is None else math.exp(-abs(place - last) / config.nearby_scale)
            votes[row] += float(similar[number]) ** config.power * match * near
    with_item = {row: sum(row in places for places in training) for row in votes}
    idf = {row: 1 + config.idf * math.log(len(sessions) / count) for row, count in with_item.items()}
    return {row: vote * idf[row] / with_item[row] ** config.rarity for row, vote in votes.items() if vote > 0}


def _recency(config: SessionKnnConfig, age: int, length: int) -> float:
    return (length - age) / length if config.recency == "linear" else math.exp(-age / config.recency_scale)


def _match(config: SessionKnnConfig, age: int) -> float:
    return {
        "same": 1.0,
        "linear": max(0.0, 1 - (age + 1) / 10),
        "reciprocal": 1 / (age + 1),
        "exponential": math.exp(-age / config.match_scale),
    }[config.match]
