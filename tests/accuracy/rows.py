"""What is measured: a recipe on a data set, by a protocol, as an encoder alone, as counters alone, and blended."""

from dataclasses import dataclass
from typing import Literal

Variant = Literal["encoder", "counters", "blend"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, for each of its variants.

    Args:
        recipe: its name.
        data: a file or folder below that of the public data sets.
        variants: which models of the recipe are measured; all of them from one training.
        overrides: what differs from the recipe, as `--set` takes it.
        refit: chosen on the validation part, then trained once more on it too; where there are several cycles, chosen
            before the first of them, and trained for each on all that is earlier.
        against: the variant that the last one is compared with, by a paired bootstrap over sessions.
        metric: of that comparison.
        ks: where the metrics are cut.

    """

    recipe: str
    data: str
    variants: tuple[Variant, ...] = ("encoder", "blend")
    overrides: tuple[str, ...] = ()
    refit: bool = False
    against: Variant | None = None
    metric: str = "mrr@20"
    ks: tuple[int, ...] = (10, 20)


ROWS: dict[str, Row] = {
    "ml1m": Row(recipe="ml1m", data="ml-1m/ml-1m.txt.gz"),
    "diginetica": Row(recipe="diginetica", data="diginetica-weeks", variants=("encoder", "counters", "blend")),
    "diginetica_last_week": Row(
        recipe="diginetica",
        data="diginetica-weeks",
        variants=("counters", "blend"),
        overrides=("protocol=last-week",),
        refit=True,
    ),
    "serenade_days": Row(
        recipe="serenade_sample",
        data="serenade-sample/train.txt.gz",
        variants=("counters", "blend"),
        overrides=("protocol=rolling-days:7",),
        refit=True,
        against="counters",
    ),
    "serenade": Row(recipe="serenade_sample", data="serenade-sample", variants=("encoder", "counters", "blend")),
    "rsc15_100k": Row(
        recipe="rsc15_100k", data="rsc15-100k", variants=("encoder", "counters", "blend"), against="counters"
    ),
}
