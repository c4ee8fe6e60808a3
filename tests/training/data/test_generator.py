from pathlib import Path

import numpy as np
import pytest

from serving.errors import WrongUse
from training.counters import fit_popularity, fit_sequential_rules
from training.data.clean import sessionise
from training.data.cuts import last_share
from training.data.generator import EVENT_SHARES, FIDELITY, FOLLOWERS, MAX_LENGTH, MEAN_LENGTH, build_shop, generate
from training.data.readers import read_log
from training.data.sequences import build_catalogue, popularity, session_numbers, to_sequences
from training.data.writers import write_log
from training.evaluation.cases import Context, build_cases
from training.evaluation.dense import evaluate_dense
from training.evaluation.scorers import CounterScorer

SESSIONS, ITEMS, SEED = 6000, 400, 3


def test_the_same_numbers_give_the_same_clicks_and_another_seed_others() -> None:
    log = generate(200, 100, 1)
    assert log.fingerprint == generate(200, 100, 1).fingerprint
    assert log.fingerprint != generate(200, 100, 2).fingerprint
    # The value itself, so that no change of what a seed means goes unseen.
    assert log.fingerprint[:16] == "6183b3d2f7fa96ae"


def test_sessions_are_as_long_and_as_quick_as_the_docstring_says() -> None:
    log = generate(SESSIONS, ITEMS, SEED)
    lengths = log.frame["session_id"].value_counts()["count"]
    assert log.sessions == SESSIONS
    assert lengths.min() == 2
    assert lengths.max() == MAX_LENGTH
    # measured: 6.99
    assert abs(lengths.mean() - MEAN_LENGTH) < 0.3  # type: ignore[operator]
    assert sessionise(log, 1200 * 1000 + 1).sessions == SESSIONS
    shares = log.frame["event_type"].value_counts(normalize=True).sort("proportion", descending=True)["proportion"]
    np.testing.assert_allclose(shares, EVENT_SHARES, atol=0.01)


def test_probabilities_of_shelves_and_moves_add_up_and_no_category_follows_itself() -> None:
    shop = build_shop(ITEMS, SEED)
    np.testing.assert_allclose(np.bincount(shop.shelf, weights=shop.share), 1.0)
    np.testing.assert_allclose(shop.moves.sum(axis=1), sum(FOLLOWERS))
    np.testing.assert_allclose(shop.entry.sum(), 1.0)
    assert not shop.moves.diagonal().any()
    assert len(set(shop.titles.values())) == ITEMS


def test_clicks_follow_the_known_moves_and_popularity() -> None:
    shop, log = build_shop(ITEMS, SEED), generate(SESSIONS, ITEMS, SEED)
    number = {item_id: place for place, item_id in enumerate(shop.item_ids)}
    items = np.array([number[item_id] for item_id in log.frame["item_id"]])
    category = shop.shelf[items] // shop.styles
    order = np.argsort(session_numbers(log.frame), kind="stable")
    same = np.diff(session_numbers(log.frame)[order]) == 0
    moves = np.zeros_like(shop.moves)
    np.add.at(moves, (category[order][:-1][same], category[order][1:][same]), 1)
    seen = moves.sum(axis=1) > 1000
    # About 1,000 to 5,000 moves a category: three standard deviations are below 0.05.
    np.testing.assert_allclose((moves / moves.sum(axis=1, keepdims=True))[seen], shop.moves[seen], atol=0.05)
    counts = np.bincount(items, minlength=ITEMS).astype(float)
    largest = np.bincount(shop.shelf, weights=counts).argmax()
    shelf = shop.shelf == largest
    np.testing.assert_allclose(counts[shelf] / counts[shelf].sum(), shop.share[shelf], atol=0.06)


def test_the_true_probabilities_by_hand() -> None:
    shop = build_shop(100, 0)
    first = np.flatnonzero(shop.shelf == shop.shelf[0])[0]
    (found,) = shop.next_item([np.array([first])])
    category, style = divmod(int(shop.shelf[first]), shop.styles)
    match, other = FIDELITY + (1 - FIDELITY) / shop.styles, (1 - FIDELITY) / shop.styles
    # One click: the hidden style is the clicked one with probability `match`, each other one with `other`.
    next_same = match * match + (shop.styles - 1) * other * other
    for item in range(100):
        to, next_style = divmod(int(shop.shelf[item]), shop.styles)
        style_share = next_same if next_style == style else (1 - next_same) / (shop.styles - 1)
        assert found[item] == pytest.approx(shop.moves[category, to] * style_share * shop.share[item])
    assert found.sum() == pytest.approx(1.0)


def test_who_reads_the_whole_session_beats_counting_and_counting_beats_popularity() -> None:
    shop, parts = build_shop(ITEMS, SEED), last_share(generate(SESSIONS, ITEMS, SEED), 0.1)
    catalogue = build_catalogue(parts.before.frame)
    sequences = to_sequences(parts.before.frame, catalogue)
    cases = build_cases(parts.held_out, catalogue)
    number = {item_id: place for place, item_id in enumerate(shop.item_ids)}
    places = np.array([number[item_id] for item_id in catalogue.item_ids[1:]])

    class Truth:
        name = "truth"

        def scores(self, contexts: list[Context]) -> np.ndarray:
            known = shop.next_item([places[context.known - 1] for context in contexts])[:, places]
            return np.column_stack([np.zeros(len(contexts)), known])

    def hit_rate(scorer: object) -> float:
        found = evaluate_dense(scorer, cases, len(catalogue), exclude="current", k=20)  # type: ignore[arg-type]
        return float(((found.ranks >= 1) & (found.ranks <= 20)).mean())

    counts = popularity(sequences, len(catalogue))
    popular = hit_rate(CounterScorer("popularity", fit_popularity(sequences, len(catalogue)), counts))
    counted = hit_rate(CounterScorer("rules", fit_sequential_rules(sequences, len(catalogue)), counts))
    best = hit_rate(Truth())
    # measured: 0.128, 0.581, 0.826
    assert popular < 0.2
    assert counted > 2 * popular
    assert best > counted + 0.1


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_written_log_is_read_back_with_its_titles(tmp_path: Path, ending: str) -> None:
    log = generate(100, 100, 5)
    written = write_log(log, tmp_path / f"shop.{ending}")
    assert [path.name for path in written] == [f"shop.{ending}", "shop.titles.csv"]
    again = read_log(tmp_path / f"shop.{ending}")
    assert again.fingerprint == log.fingerprint
    assert again.titles == log.titles


def test_too_few_items_or_sessions_and_unknown_endings_are_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="at least 100 items, not 99"):
        generate(1, 99, 0)
    with pytest.raises(WrongUse, match="at least one session, not 0"):
        generate(0, 100, 0)
    log = generate(1, 100, 0)
    with pytest.raises(WrongUse, match=r"ends in '\.xlsx'"):
        write_log(log, tmp_path / "shop.xlsx")
    with pytest.raises(WrongUse, match="there is no directory"):
        write_log(log, tmp_path / "no" / "shop.csv")
