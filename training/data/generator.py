"""The generated shop: a click log whose structure, and so the best possible hit rate, is known.

Every item belongs to a category and a style. A visitor comes with one style in mind, which stays hidden, and walks from
category to category: where to go next depends on the category of the last click only, and each click is of the
visitor's style with probability `FIDELITY`, else of any. So the last item tells the next category, but only the whole
session tells the style: counting which item follows which cannot add that up, an encoder of the session can.
Popularity is skewed (Zipf) inside each shelf, a shelf being the items of one category and one style. Nothing drifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.errors import WrongUse
from training.data.log import ClickLog, make_log

FIDELITY = 0.7
FOLLOWERS = (0.55, 0.3, 0.15)
"""Probabilities of the three categories that follow a category."""

MIN_ITEMS = 100
ZIPF = 0.8
MEAN_LENGTH = 7.0
MAX_LENGTH = 40

START_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
DAYS = 30
MEDIAN_GAP_S = 30.0
MAX_GAP_S = 1200.0  # below every sensible session gap, so that no session is cut

EVENT_TYPES = ("view", "add_to_cart", "purchase")
EVENT_SHARES = (0.86, 0.11, 0.03)

_STYLES = ("Oak", "Steel", "Linen", "Brass", "Glass", "Cork", "Slate", "Wool")
_CATEGORIES = (
    "Lamp", "Table", "Chair", "Shelf", "Mirror", "Clock", "Vase", "Rug", "Desk", "Stool",
    "Bench", "Basket", "Tray", "Bowl", "Curtain", "Cushion", "Frame", "Hook", "Kettle", "Planter",
)  # fmt: skip

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shop:
    """The structure behind a generated log. Items are 0..M-1 here, `item_ids` names them.

    `shelf` `[M]` is category * styles + style; `share` `[M]` is the probability of an item on its shelf; `moves`
    `[categories, categories]` the probabilities of the next category; `entry` `[categories]` of the first.
    """

    item_ids: list[str]
    titles: dict[str, str]
    styles: int
    shelf: Ints
    share: Floats
    moves: Floats
    entry: Floats

    @property
    def style_given_intent(self) -> Floats:
        """The probability of a click's style (column) by the visitor's hidden style (row)."""
        return FIDELITY * np.eye(self.styles) + (1 - FIDELITY) / self.styles

    def next_item(self, sessions: Sequence[Ints]) -> Floats:
        """Return the true probability of each item as the next click, `[B, M]`, for sessions of at least one item.

        No list can have a higher hit rate, on average, than the items of the highest probability.
        """
        log_style = np.log(self.style_given_intent)
        probabilities = np.empty((len(sessions), len(self.item_ids)))
        for row, items in enumerate(sessions):
            category, style = np.divmod(self.shelf[items], self.styles)
            evidence = log_style[:, style].sum(axis=1)
            posterior = np.exp(evidence - evidence.max())
            next_style = posterior / posterior.sum() @ self.style_given_intent
            shelves = np.outer(self.moves[category[-1]], next_style).ravel()
            probabilities[row] = shelves[self.shelf] * self.share
        return probabilities


def build_shop(items: int, seed: int) -> Shop:
    """Draw the shop of a seed: shelves, who follows whom, popularity.

    Raises:
        WrongUse: fewer than `MIN_ITEMS` items, too few for shelves worth the name.

    """
    if items < MIN_ITEMS:
        raise WrongUse(f"a generated shop needs at least {MIN_ITEMS} items, not {items}")
    random = np.random.default_rng([seed, 0])
    styles = len(_STYLES) if items >= 800 else 5
    categories = min(len(_CATEGORIES), items // (2 * styles))
    # Shelf by shelf, place by place; the permutation keeps an item's number from telling its shelf.
    order = random.permutation(items)
    shelf = np.empty(items, dtype=np.int64)
    place = np.empty(items, dtype=np.int64)
    shelf[order] = np.arange(items) % (categories * styles)
    place[order] = np.arange(items) // (categories * styles)
    weight = (place + 1.0) ** -ZIPF
    share = weight / np.bincount(shelf, weights=weight)[shelf]
    entry = (np.arange(categories) + 1.0) ** -ZIPF
    item_ids = [f"i{number:0{len(str(items))}d}" for number in range(1, items + 1)]
    return Shop(
        item_ids=item_ids,
        titles={
            item_id: f"{_STYLES[on % styles]} {_CATEGORIES[on // styles]} {at + 1}"
            for item_id, on, at in zip(item_ids, shelf.tolist(), place.tolist(), strict=True)
        },
        styles=styles,
        shelf=shelf,
        share=share,
        moves=_draw_moves(categories, random),
        entry=entry / entry.sum(),
    )


def generate(sessions: int, items: int, seed: int) -> ClickLog:
    """Generate a log of the shop `build_shop(items, seed)`: the same clicks for the same three numbers.

    Sessions begin evenly over 30 days from 2025-01-01 UTC, have 2 to 40 clicks (7 on average), and never fall silent
    for more than 20 minutes; a third as many users as sessions.
    """
    if sessions < 1:
        raise WrongUse(f"a click log needs at least one session, not {sessions}")
    shop = build_shop(items, seed)
    random = np.random.default_rng([seed, 1])
    lengths = np.minimum(1 + random.geometric(1 / (MEAN_LENGTH - 1), sessions), MAX_LENGTH)
    session, place, clicked = _walk(shop, lengths, random)
    users = random.integers(0, max(1, sessions // 3), sessions)
    frame = pl.DataFrame(
        {
            "session_id": _names("s", session, sessions),
            "item_id": pl.Series(shop.item_ids).gather(clicked),
            "timestamp_ms": _times(session, place, sessions, random),
            "event_type": pl.Series(EVENT_TYPES).gather(random.choice(3, len(session), p=EVENT_SHARES)),
            "user_id": _names("u", users[session], sessions),
        }
    )
    return make_log(frame, titles=shop.titles, name=f"shop-{sessions}-{items}-{seed}")


def _draw_moves(categories: int, random: np.random.Generator) -> Floats:
    """Give each category three others that follow it, and never itself: no item is clicked twice running."""
    moves: Floats = np.zeros((categories, categories))
    for category in range(categories):
        others = np.delete(np.arange(categories), category)
        followers = random.choice(others, len(FOLLOWERS), replace=False)
        moves[category, followers] = FOLLOWERS
    return moves


def _walk(shop: Shop, lengths: Ints, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Walk all sessions step by step; return session, place in the session and item of each click."""
    intent = random.integers(0, shop.styles, len(lengths))
    by_shelf = np.lexsort((np.arange(len(shop.shelf)), shop.shelf))
    # Shelves one after the other on the number line: shelf s is [s, s + 1), so one search finds shelf and item.
    ladder = _ladder(shop, by_shelf)
    category = _draw(np.broadcast_to(shop.entry, (len(lengths), len(shop.entry))), random)
    active = np.arange(len(lengths))
    sessions, places, items = [], [], []
    for step in range(int(lengths.max())):
        keep = lengths[active] > step
        active, category = active[keep], category[keep]
        faithful = random.random(len(active)) < FIDELITY
        style = np.where(faithful, intent[active], random.integers(0, shop.styles, len(active)))
        drawn = category * shop.styles + style + random.random(len(active))
        sessions.append(active)
        places.append(np.full(len(active), step))
        items.append(by_shelf[np.minimum(np.searchsorted(ladder, drawn, side="right"), len(by_shelf) - 1)])
        category = _draw(shop.moves[category], random)
    return np.concatenate(sessions), np.concatenate(places), np.concatenate(items)


def _ladder(shop: Shop, by_shelf: Ints) -> Floats:
    shelf, share = shop.shelf[by_shelf], shop.share[by_shelf]
    sums: Floats = np.cumsum(share)
    begins = np.r_[0.0, sums][np.searchsorted(shelf, shelf)]
    ladder: Floats = shelf + (sums - begins)
    return ladder


def _draw(probabilities: Floats, random: np.random.Generator) -> Ints:
    """Draw one column per row."""
    sums = probabilities.cumsum(axis=1)
    columns: Ints = (sums < random.random((len(sums), 1)) * sums[:, -1:]).sum(axis=1)
    return columns


def _times(session: Ints, place: Ints, sessions: int, random: np.random.Generator) -> Ints:
    begin = np.sort(random.integers(0, DAYS * 24 * 3600 * 1000, sessions))
    gaps = np.minimum(random.lognormal(np.log(MEDIAN_GAP_S), 1.0, len(session)), MAX_GAP_S)
    gaps_ms = np.where(place > 0, np.ceil(gaps * 1000), 0).astype(np.int64)
    order = np.lexsort((place, session))
    sums = np.cumsum(gaps_ms[order])
    first = np.searchsorted(session[order], np.arange(sessions))
    times = np.empty(len(session), dtype=np.int64)
    times[order] = START_MS + begin[session[order]] + sums - sums[first][session[order]]
    return times


def _names(letter: str, numbers: npt.NDArray[Any], largest: int) -> pl.Series:
    names = pl.Series(numbers + 1).cast(pl.String).str.zfill(len(str(largest)))
    return letter + names
