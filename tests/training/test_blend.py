import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.catalogue import Catalogue
from serving.counters import Counter, ItemRules, ItemRulesParameters, Popularity, PopularityParameters
from serving.index import Index
from serving.ranks import ndcg
from serving.retrieval import Blend, CounterSide, EncoderSide
from serving.settings import Exclude
from training.blend import BlendConfig, Sides, fit_blend
from training.checkpoint import checkpoints_of
from training.counters import SequentialRulesConfig
from training.data.sequences import Events
from training.data.splits import Training
from training.evaluation.cases import Cases
from training.evaluation.served import evaluate_served
from training.prepared import prepare_training
from training.recipes import Recipe
from training.train import train_bundle

ITEMS = 30
CATALOGUE = Catalogue([f"i{row}" for row in range(1, ITEMS + 1)])


def _rules(step: int, decay: float = 0.9) -> ItemRules:
    """Item i votes for item i + step."""
    followers = np.array([(row + step - 1) % ITEMS + 1 for row in range(1, ITEMS + 1)])
    parameters = ItemRulesParameters(window=5, decay=decay)
    return ItemRules(parameters, np.array([0, *range(ITEMS + 1)]), followers, np.ones(ITEMS, np.float32))


def _cases(step: int) -> Cases:
    """Sessions of three items, each `step` after the one before."""
    sessions = [np.array([first, first + step, first + 2 * step]) for first in range(1, 20)]
    events = [Events(rows, np.zeros_like(rows), np.arange(3)) for rows in sessions]
    session = np.repeat(np.arange(len(events)), 2)
    return Cases(events, session, np.tile([1, 2], len(events)), np.arange(2 * len(events)))


def test_what_tells_the_next_item_outweighs_what_does_not() -> None:
    sides = Sides(encoder=None, nearest=None, counters=[_rules(1), _rules(2), _rules(3)], catalogue=CATALOGUE)
    fitted = fit_blend(sides, _cases(2), BlendConfig(monitor="mrr"), exclude="current")
    # The first side's weight stays, the others move around it.
    assert fitted.figures["mrr@20"] == 1.0
    assert fitted.weights.counters[1] > 1 >= fitted.weights.counters[0]
    assert fitted.weights.encoder == 0


def test_fitting_never_makes_it_worse_than_equal_weights() -> None:
    random = np.random.default_rng(0)
    popular = Popularity(PopularityParameters(), np.arange(1, ITEMS + 1), random.random(ITEMS).astype(np.float32) + 0.1)
    counters: list[Counter] = [popular, _rules(1, 0.5)]
    cases = _cases(1)
    sides = Sides(encoder=None, nearest=None, counters=counters, catalogue=CATALOGUE)
    fitted = fit_blend(sides, cases, BlendConfig(monitor="mrr"), exclude="none")
    equal = Blend(None, [CounterSide(counter=counter, weight=1.0, floor=1e-4) for counter in counters], CATALOGUE, 500)
    sessions, count = [context.events.rows for context in cases.contexts(0, len(cases))], len(cases)
    found = equal.candidates(sessions, np.zeros((count, 0), np.float32), [False] * count, 20)
    scores = found.blended(equal.weights)
    own = np.where(found.rows == cases.targets[:, None], scores, -np.inf).max(axis=1)
    assert fitted.figures["mrr@20"] >= np.mean(1 / (scores >= own[:, None]).sum(axis=1))


@pytest.mark.parametrize(("exclude", "hits"), [("none", 1.0), ("seen", 0.0)])
def test_what_lists_leave_out_is_left_out_of_the_fit(exclude: Exclude, hits: float) -> None:
    rows = np.array([4, 4])
    cases = Cases([Events(rows, rows * 0, np.arange(2))], np.array([0]), np.array([1]), np.array([1]))
    sides = Sides(encoder=None, nearest=None, counters=[_rules(ITEMS)], catalogue=CATALOGUE)
    assert fit_blend(sides, cases, BlendConfig(), exclude=exclude).figures["hr@20"] == hits


@pytest.mark.parametrize(("window", "hits"), [(1, 0.0), (2, 1.0)])
def test_a_counter_is_fitted_on_what_it_reads_in_a_worker(window: int, hits: float) -> None:
    rows = np.array([4, 0, 5])
    cases = Cases([Events(rows, rows * 0, np.arange(3))], np.array([0]), np.array([2]), np.array([2]))
    rules = ItemRules(ItemRulesParameters(window=window, decay=1.0), *_rules(1).tensors().values())
    sides = Sides(encoder=None, nearest=None, counters=[rules], catalogue=CATALOGUE)
    assert fit_blend(sides, cases, BlendConfig(), exclude="none").figures["hr@20"] == hits


def test_only_so_many_cases_are_looked_at_and_whole_sessions_first() -> None:
    sides = Sides(encoder=None, nearest=None, counters=[_rules(1)], catalogue=CATALOGUE)
    assert fit_blend(sides, _cases(1), BlendConfig(cases=7), exclude="none").cases == 7
    assert fit_blend(sides, _cases(1), BlendConfig(), exclude="none").cases == 38


@pytest.fixture(scope="module")
def blend_recipe(small_recipe: Recipe) -> Recipe:
    return replace(small_recipe, name="blend", counters=(SequentialRulesConfig(),))


@pytest.fixture(scope="module")
def blended(blend_recipe: Recipe, small_training: Training, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("blend") / "bundle"
    return train_bundle(blend_recipe, small_training, seed=0, out=out).bundle


def test_a_trained_blend_shows_what_was_fitted(blended: Bundle, small_training: Training) -> None:
    bundle = blended
    assert bundle.manifest.model == "gru+item-rules"
    assert bundle.manifest.blend is not None
    # The figure of the fit is that of the lists that a worker shows for the same cases.
    cases = prepare_training(small_training).validation
    found = evaluate_served(bundle, cases, exclude="current", k=20)
    fitted = bundle.manifest.metrics["blend"]
    assert fitted["cases"] == len(cases)
    assert ndcg(found.ranks, 20) == pytest.approx(fitted["ndcg@20"], abs=1e-9)
    assert fitted["ndcg@20"] >= bundle.manifest.metrics["validation"]["ndcg@20"]
    assert isinstance(bundle.retrieval, Blend)


def test_a_finished_training_can_end_in_another_blend(
    blended: Bundle, blend_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    shutil.copytree(checkpoints_of(blended.directory), checkpoints_of(out))
    other = replace(blend_recipe, counters=(SequentialRulesConfig(steps=1, window=1),))
    second = train_bundle(other, small_training, seed=0, out=out, resume=True).bundle
    assert np.array_equal(blended.vectors, second.vectors)
    assert blended.id != second.id


def test_counters_alone_need_no_training(small_recipe: Recipe, small_training: Training, tmp_path: Path) -> None:
    recipe = replace(small_recipe, model=None, counters=(SequentialRulesConfig(),))
    trained = train_bundle(recipe, small_training, seed=0, out=tmp_path / "bundle")
    assert (trained.encoder, trained.progress) == (None, None)
    assert trained.bundle.manifest.model == "item-rules"
    assert not (tmp_path / "bundle.checkpoint").exists()


def test_the_encoders_side_is_its_log_probability_among_its_candidates() -> None:
    vectors = np.random.default_rng(0).normal(size=(ITEMS + 1, 4)).astype(np.float32)
    vectors[0] = 0
    side = EncoderSide(index=Index.build(vectors, "Flat"), vectors=vectors, scale=3.0, weight=1.0)
    blend = Blend(side, [], CATALOGUE, ITEMS)
    found = blend.candidates([np.array([1])], vectors[5:6], [True], 20)
    assert found.logits is not None
    assert np.exp(found.logits.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-4)
