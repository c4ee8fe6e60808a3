"""Two models on the same cases: their difference, and what another sample of visitors might have given."""

import re
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import Bundle
from serving.errors import WrongUse
from serving.ranks import METRICS, gains
from training.data.dataset import read_described, read_description, read_test
from training.data.readers import ReadOptions
from training.evaluation.bootstrap import RESAMPLES, Difference, paired_difference
from training.evaluation.case_ranks import CaseRanks, Over, case_ranks, same_cases
from training.evaluation.protocols import make_task, path_of, rank_bundle
from training.evaluation.terms import Terms
from training.warm_start import learned_before


@dataclass(frozen=True)
class Comparison:
    """A metric of two models, their difference, and what was drawn for its interval."""

    metric: str
    found: Difference
    cases: int
    clusters: int
    over: Over
    resamples: int
    seed: int


def parse_metric(text: str) -> tuple[str, int]:
    """Read a metric with its k, such as `mrr@20`.

    Raises:
        WrongUse: there is no such metric, or no k.

    """
    found = re.fullmatch(rf"({'|'.join(METRICS)})@([1-9]\d*)", text)
    if found is None:
        raise WrongUse(f"there is no metric {text!r}: name one of {', '.join(METRICS)} at a k, as in mrr@20")
    return found[1], int(found[2])


def rank_cases(bundle: Bundle, path: Path, terms: Terms, options: ReadOptions | None = None) -> CaseRanks:
    """Rank the test clicks of a data set with a bundle that was trained on its training clicks.

    Raises:
        WrongUse: the bundle was trained on other clicks than the protocol leaves to training, perhaps on the test's; or
            the terms ask for lists that it cannot give.

    """
    path_of(bundle, terms)
    data = bundle.manifest.data
    training = read_described(data, path, terms.protocol, options)
    if data.get("fingerprint") != training.clicks.fingerprint:
        raise WrongUse(
            f"bundle {bundle.id} was trained on other clicks ({data.get('protocol', 'no protocol known')}, "
            f"{data.get('rows', '?')} clicks) than {terms.protocol} leaves to training here ({len(training.clicks)} "
            "clicks), so the test may be among them; name the data and the protocol of its training"
        )
    if set(learned_before(bundle.manifest)) - {training.clicks.fingerprint}:
        raise WrongUse(
            f"bundle {bundle.id} started from bundle {bundle.manifest.metrics['started_from']['bundle']}, which had "
            "learned from other clicks, so the test may be among them; compare bundles that were trained from scratch"
        )
    held_out = read_test(path, terms.protocol, read_description(data)[1], options)
    task = make_task(held_out, training, bundle, terms)
    return case_ranks(task.held_out, task.cases, rank_bundle(bundle, task, terms).ranks)


def compare_ranks(
    a: CaseRanks,
    b: CaseRanks,
    metric: str,
    *,
    over: Over = "sessions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models' ranks of the same cases by a metric such as `mrr@20`.

    Raises:
        WrongUse: the cases are not the same, or there is no such metric.
        DataError: there are no cases.

    """
    if not same_cases(a, b):
        raise WrongUse(
            f"the two were ranked on other cases ({len(a)} and {len(b)}): sessions cut at other gaps, or clicks on "
            "items dropped that one of the two does not know; compare what had the same preparation, or count unknown "
            "items as misses"
        )
    name, k = parse_metric(metric)
    clusters = a.clusters(over)
    found = paired_difference(
        gains(a.ranks, name, k), gains(b.ranks, name, k), clusters, resamples=resamples, seed=seed
    )
    return Comparison(metric, found, len(a), len(set(clusters.tolist())), over, resamples, seed)
