"""Our figures beside those of trec_eval, the evaluator of the Text Retrieval Conferences, on random data.

Davis, Dettmers, Clarke et al. wrap it as pytrec_eval: Van Gysel and de Rijke, SIGIR 2018. The ranking itself is checked
on the way: it gets the scores and sorts them on its own.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import pytrec_eval

from serving.ranks import summary
from tests.training.conftest import as_events
from training.evaluation.cases import Cases, Context
from training.evaluation.dense import evaluate_dense

ITEMS, CASES = 200, 300


class Table:
    """Scores that were drawn beforehand, one line a case."""

    name = "table"

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def scores(self, contexts: Sequence[Context]) -> np.ndarray:
        return self._scores.copy()


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, Cases]:
    """Scores without ties that favour the targets somewhat; each session is two clicks."""
    random = np.random.default_rng(0)
    sequences = [random.permutation(np.arange(1, ITEMS + 1))[:2] for _ in range(CASES)]
    scores = random.permutation(CASES * (ITEMS + 1)).reshape(CASES, ITEMS + 1).astype(np.float64)
    for line, (_, target) in zip(scores, sequences, strict=True):
        line[target] += random.exponential(CASES * ITEMS) + 0.5
    ones = np.ones(CASES, np.int64)
    return scores, Cases(as_events(sequences), np.arange(CASES), ones, np.arange(CASES))


@pytest.mark.parametrize("exclude", ["none", "current"])
@pytest.mark.parametrize("k", [1, 5, 10, 20, 100])
def test_figures_equal_those_of_trec_eval(drawn: tuple[np.ndarray, Cases], k: int, exclude: str) -> None:
    scores, cases = drawn
    asked = {str(case): {str(target): 1} for case, target in enumerate(cases.targets.tolist())}
    contexts = cases.contexts(0, CASES)
    left_out = [int(context.events.rows[-1]) if exclude == "current" else 0 for context in contexts]
    run = {
        str(case): {str(row): float(line[row]) for row in range(1, ITEMS + 1) if row != left_out[case]}
        for case, line in enumerate(scores)
    }
    measures = {f"success.{k}", f"recall.{k}", f"P.{k}", f"ndcg_cut.{k}", f"map_cut.{k}"}
    theirs = pytrec_eval.RelevanceEvaluator(asked, measures).evaluate(run)
    # Reciprocal rank and F have no cut of their own: they get the first k only.
    short = {case: dict(sorted(line.items(), key=lambda pair: -pair[1])[:k]) for case, line in run.items()}
    cut = pytrec_eval.RelevanceEvaluator(asked, {"recip_rank", "set_F"}).evaluate(short)

    found = evaluate_dense(Table(scores), cases, ITEMS, exclude=exclude, k=k)  # type: ignore[arg-type]
    ours = summary(found.ranks, k)
    names = {
        "hr": f"success_{k}", "recall": f"recall_{k}", "precision": f"P_{k}", "ndcg": f"ndcg_cut_{k}",
        "map": f"map_cut_{k}", "mrr": "recip_rank", "f1": "set_F",
    }  # fmt: skip
    for metric, name in names.items():
        values = [(theirs if name in theirs["0"] else cut)[case][name] for case in asked]
        assert ours[f"{metric}@{k}"] == pytest.approx(np.mean(values), abs=1e-9), metric
    assert 0 < ours[f"recall@{k}"] < 1
    for case, line in short.items():
        assert [str(row) for row in found.top[int(case)]] == list(line)
