"""Makes docs/accuracy.md from docs/accuracy.json: `python -m tests.accuracy.page`."""

import json
from statistics import fmean
from typing import Any

from tests.accuracy.published import SECTIONS, Section
from tests.accuracy.run import TABLE

PAGE = TABLE.with_suffix(".md")
HEAD = """\
# Accuracy

How good the lists are, on public data, beside what others have published under the same protocol. Every figure of ours
is the mean over three seeds and, behind ±, half the distance between the best and the worst of them. Recipes were tried
out on seed 0, and everything was chosen on the validation part; its figure stands beside the test's. The figures come
from the lists that a worker would show, those of a model that no worker can serve from its scores of all items.
`docs/accuracy.json` has every seed's figures with intervals, bundle, training time and validation, and the
data's sha256.

`make accuracy ROW=ml1m` trains a row again from nothing, on the files in `shared/data` or in the folder that
`$NEXTCLICK_TEST_DATA` names, and writes this page anew; each case's rank is left in `build/accuracy`, as Parquet.

What a row is compared with beside the published figures is trained and measured with it, on the same cases. Differences
are paired, case by case; their intervals come from a bootstrap over sessions, of which one leads to many predictions.
"""
NAMES = {"encoder": "encoder alone", "counters": "counters alone", "blend": "blend of both"}
RIVALS = {
    "vmis_knn": "VMIS-kNN alone, tuned on the same validation part",
    "rectools_hstu": "HSTU of two blocks as RecTools trains it, once (not servable: needs query_time)",
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(json.loads(TABLE.read_text()) if TABLE.exists() else {}))


def page(table: dict[str, Any]) -> str:
    """Return the page of a table of rows."""
    parts = [HEAD, *(_section(section, table) for section in SECTIONS if any(row in table for row in section.rows))]
    return "\n".join(parts)


def _section(section: Section, table: dict[str, Any]) -> str:
    measured = [(name, table[name]) for name in section.rows if name in table]
    metrics = section.metrics
    head = ["", *(_title(metric) for metric in metrics), f"validation {_title(metrics[-1])}", "row"]
    lines = [f"## {section.title}", "", section.about, "", _line(head), "|---|" + "---:|" * (len(metrics) + 1) + "---|"]
    for other in section.published:
        lines.append(
            _line([other.model, *(_number(other.figures.get(metric)) for metric in metrics), "", other.source])
        )
    for name, row in measured:
        lines += [_line(cells) for cells in _ours(name, row, metrics)]
    tried = [section.tried + "\n"] if section.tried else []
    return "\n".join([*lines, "", *(_below(name, row) for name, row in measured), *tried, ""])


def _ours(name: str, row: dict[str, Any], metrics: tuple[str, ...]) -> list[list[str]]:
    found = []
    for variant in row["seeds"][0]["variants"]:
        seeds = [seed["variants"][variant] for seed in row["seeds"]]
        # A rival that was trained once has no spread.
        counted = seeds[:1] if variant not in NAMES and "seed" in row["rival"] else seeds
        shown = [_spread([seed["test"][metric] for seed in counted]) for metric in metrics]
        found.append(
            [
                _named(row, variant, seeds[0]["trainings"][0]),
                *shown,
                _validated(seeds, metrics[-1]),
                f"`{name}`",
            ]
        )
    return found


def _named(row: dict[str, Any], variant: str, training: dict[str, Any]) -> str:
    """Return what a model is called: ours stand out, and what no worker can serve says so."""
    if variant not in NAMES:
        return RIVALS[variant]
    needs = f" (not servable: needs {', '.join(training['needs'])})" if training.get("needs") else ""
    return f"**{row['recipe']['name']}, {NAMES[variant]}**{needs}"


def _validated(seeds: list[dict[str, Any]], metric: str) -> str:
    """Return what validation said of the metric, the mean of a seed's trainings; at 20 where it was not asked at k."""
    for wanted in dict.fromkeys((metric, f"{metric.partition('@')[0]}@20")):
        values = []
        for seed in seeds:
            trainings = [{**training.get("chosen_by", {}), **training} for training in seed["trainings"]]
            parts = [training.get("blend", training.get("validation", {})) for training in trainings]
            values += [fmean(part[wanted] for part in parts)] if all(wanted in part for part in parts) else []
        if len(values) == len(seeds):
            return _spread(values) + ("" if wanted == metric else " (@20)")
    return ""


def _below(name: str, row: dict[str, Any]) -> str:
    seeds = row["seeds"]
    text = (
        f"`{name}`: recipe `{row['recipe']['name']}`{_set(row)}, protocol `{row['protocol']}`{_searched(row)}, "
        f"excluded: {row['exclude']}, unknown items: {'dropped' if row['unknown_items'] == 'drop' else 'misses'}, "
        f"{seeds[0]['cases']:,} cases, seeds {', '.join(str(seed['seed']) for seed in seeds)}; "
        f"{max(seed['minutes'] for seed in seeds):.0f} minutes a seed; data sha256 `{row['data_sha256'][:16]}`, "
        f"{seeds[-1]['date']}, code {', '.join(_codes(seeds))}, bundles {', '.join(_bundles(row))}; "
        f"`{row['command']}`."
    )
    for seed in seeds:
        for other, found in seed["against"].items():
            if other in RIVALS:
                low, high = found["difference"]["low"], found["difference"]["high"]
                text += (
                    f" Seed {seed['seed']}: {found['metric']} {found['a'] - found['b']:+.4f} against {other}, 95 % of "
                    f"the sessions' bootstrap from {low:+.4f} to {high:+.4f}."
                )
    return text + "\n"


def _codes(seeds: list[dict[str, Any]]) -> list[str]:
    """Return the commits of the trainings, and of the ranking where it was done again."""
    found = [code for seed in seeds for code in (seed["commit"], seed["ranked"])]
    return list(dict.fromkeys(found))


def _searched(row: dict[str, Any]) -> str:
    if not row.get("trials"):
        return ""
    return f", counters searched by {row['trials']} trials on the validation part before the first test"


def _bundles(row: dict[str, Any]) -> list[str]:
    last = [variant for variant in row["seeds"][0]["variants"] if variant in NAMES][-1]
    return [f"`{seed['variants'][last]['trainings'][0]['bundle']}`" for seed in row["seeds"]]


def _set(row: dict[str, Any]) -> str:
    return f" with `{' '.join(f'--set {value}' for value in row['overrides'])}`" if row["overrides"] else ""


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    mean = f"**{_number(fmean(values))}**"
    return mean if len(values) == 1 else f"{mean} ± {_number((max(values) - min(values)) / 2)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".lstrip("0")


def _title(metric: str) -> str:
    name, _, k = metric.partition("@")
    return f"{ {'hr': 'HR', 'ndcg': 'NDCG', 'mrr': 'MRR', 'recall': 'Recall'}[name] }@{k}"


if __name__ == "__main__":
    main()
