"""What is measured: a recipe on a data set, by a protocol, as an encoder alone, as counters alone, and blended."""

from dataclasses import dataclass
from typing import Literal

Variant = Literal["encoder", "counters", "blend"]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A rival among our own recipes: counters, tuned on the validation part of the row (`nextclick tune`)."""

    recipe: str
    trials: int = 100

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return self.recipe


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A rival of other people: `tests/accuracy/systems/NAME.py`, run in an environment of its own.

    It is trained once, with a seed of its own, and compared with ours of every seed: a training is an hour of a core.
    """

    name: str
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, for each of its variants; the last of them is compared with all others, case by case.

    Args:
        recipe: its name.
        data: a file or folder below that of the public data sets.
        variants: which models of the recipe are measured; all of them from one training.
        overrides: what differs from the recipe, as `--set` takes it.
        trials: how often values of the recipe's counters are tried on the validation part first, where those of the
            recipe were chosen on other clicks than come before this row's test.
        refit: chosen on the validation part, then trained once more on it too; where there are several cycles, chosen
            before the first of them, and trained for each on all that is earlier.
        rival: what is trained and measured beside them on the same cases.
        metric: of the comparison, a paired bootstrap over sessions.
        ks: where the metrics are cut.

    """

    recipe: str
    data: str
    variants: tuple[Variant, ...] = ("encoder", "blend")
    overrides: tuple[str, ...] = ()
    trials: int = 0
    refit: bool = False
    rival: Tuned | Outside | None = None
    metric: str = "mrr@20"
    ks: tuple[int, ...] = (10, 20)


VMIS = Tuned(recipe="vmis_knn")
RECTOOLS = Outside(name="rectools_hstu")

ROWS: dict[str, Row] = {
    "ml1m": Row(recipe="ml1m", data="ml-1m/ml-1m.txt.gz", metric="ndcg@10"),
    "ml1m_time": Row(
        recipe="ml1m_time",
        data="ml-1m/ml1m_events.csv.gz",
        variants=("encoder",),
        rival=RECTOOLS,
        metric="ndcg@10",
    ),
    "ml1m_time_last": Row(
        recipe="ml1m_time",
        data="ml-1m/ml1m_events.csv.gz",
        variants=("encoder",),
        overrides=("model.time_of=last", "loop.epochs=16"),
        rival=RECTOOLS,
        metric="ndcg@10",
    ),
    "diginetica": Row(recipe="diginetica", data="diginetica-weeks", variants=("encoder", "counters", "blend")),
    "diginetica_last_week": Row(
        recipe="diginetica",
        data="diginetica-weeks",
        variants=("counters", "blend"),
        overrides=("protocol=last-week",),
        refit=True,
    ),
    # The values of serenade_sample were chosen on the days that are the tests here.
    "serenade_days": Row(
        recipe="rsc15_100k",
        data="serenade-sample/train.txt.gz",
        variants=("counters", "blend"),
        overrides=("protocol=rolling-days:7", "exclude=current"),
        trials=40,
        refit=True,
        rival=VMIS,
    ),
    "serenade": Row(
        recipe="serenade_sample", data="serenade-sample", variants=("encoder", "counters", "blend"), rival=VMIS
    ),
    "rsc15_100k": Row(recipe="rsc15_100k", data="rsc15-100k", variants=("encoder", "counters", "blend"), rival=VMIS),
}
