"""A search: stage after stage, trial after trial, until so many were tried or the time is up.

The encoder comes first, judged on its own; then the counters, blended with the best encoder's weights. Each stage has
the same number of trials and an equal part of the time; what one leaves the next one has.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import WrongUse
from training.checks import above, at_least
from training.contents import check_counters, code_revision
from training.data.dataset import describe
from training.data.protocol import parse_protocol
from training.data.splits import Training
from training.errors import TrainingError
from training.prepared import Prepared, prepare_training
from training.recipes import Recipe, override
from training.tune.judging import CountersJudge, EncoderJudge, Judge, counters_monitor
from training.tune.record import RECORD, Record, check_same, read_record, write_record
from training.tune.space import Space, Stage
from training.tune.stage import Seen, StageRun


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to search and how long; `options` are the `KEY=VALUE` that made `recipe` of the one with its name."""

    recipe: Recipe
    space: Space
    options: tuple[str, ...] = ()
    trials: int = 20
    """Of each stage, at most; a stage without anything to try has one."""
    max_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, trials=self.trials)
        if self.max_seconds is not None:
            above(0, max_seconds=self.max_seconds)

    @property
    def stages(self) -> list[Stage]:
        """The stages that the recipe has."""
        sides: list[tuple[Stage, bool]] = [
            ("encoder", self.recipe.model is not None),
            ("counters", bool(self.recipe.counters)),
        ]
        return [stage for stage, there in sides if there]

    def trials_of(self, stage: Stage) -> int:
        """Return how many trials a stage has."""
        return self.trials if self.space.of(stage) else 1

    def missing(self, record: Record) -> dict[Stage, int]:
        """Return how many trials the time did not suffice for, by stage; only those of the last stage can follow."""
        ended = {stage: sum(trial.state != "cut" for trial in record.of(stage)) for stage in self.stages}
        missing = {stage: self.trials_of(stage) - ended[stage] for stage in self.stages}
        return {stage: count for stage, count in missing.items() if count > 0}


def search(
    plan: Plan,
    training: Training,
    out: Path,
    *,
    command: str = "",
    resume: bool = False,
    seen: Callable[[Seen], None] = lambda _: None,
) -> Record:
    """Search, and leave the account in `out` after every trial.

    `training` is what `training.data.dataset.read_training` gives; no other clicks are looked at. The same plan and
    clicks give the same trials, but for their seconds, unless the time ends them; `max_seconds` counts anew when a
    search goes on. After a KeyboardInterrupt, which passes through, the account has all that was tried.

    Raises:
        WrongUse: `out` has a search and `resume` is False, or cannot be written.
        CheckpointError: `resume`, and `out` has no search, or another one.
        DataError: a counter needs times that the data do not have.
        TrainingError: no trial of a stage came to its end.

    """
    began = time.monotonic()
    check_out(out, resume)
    record = _begun(plan, training, command)
    if resume:
        there = read_record(out)
        check_same(out, there, record)
        record.trials = there.trials
        record.conclude()
    data = prepare_training(training)
    check_counters(plan.recipe, data)
    write_record(out, record)
    for place, name in enumerate(plan.stages):
        later = plan.stages[place + 1 :]
        if any(record.of(stage) for stage in later):
            continue  # these stand on its best trial
        recipe, judge = _stage(plan, name, record, data, out)
        StageRun(
            name=name,
            trials=plan.trials_of(name),
            space=plan.space,
            recipe=recipe,
            seed=plan.seed,
            judge=judge,
            record=record,
            out=out,
            until=_until(plan, began, 1 + len(later)),
            seen=seen,
        ).run()
        _check_ended(record, name, plan)
    return record


def check_out(out: Path, resume: bool) -> None:
    """Refuse a directory with a search in it, unless that search is to go on.

    Raises:
        WrongUse: there is one.
        CheckpointError: there is none to go on with.

    """
    if resume:
        read_record(out)
    elif (out / RECORD).exists():
        raise WrongUse(f"{out} has a search already: go on with it by --resume, or name another directory")


def _begun(plan: Plan, training: Training, command: str) -> Record:
    recipe, protocol = plan.recipe, parse_protocol(plan.recipe.protocol)
    monitors: dict[Stage, str] = {"encoder": recipe.loop.monitor, "counters": counters_monitor(recipe)}
    return Record(
        command=command,
        code=code_revision(),
        recipe=recipe.name,
        set=list(plan.options),
        space=plan.space.specs(),
        parameters=recipe.parameters(),
        protocol=str(protocol),
        data=describe(training, protocol, recipe.preparation),
        monitor={stage: monitors[stage] for stage in plan.stages},
        seed=plan.seed,
    )


def _stage(plan: Plan, name: Stage, record: Record, data: Prepared, out: Path) -> tuple[Recipe, Judge]:
    """Return the recipe that a stage's values are set in, and who judges it."""
    encoders = EncoderJudge(data, plan.seed, out, keep=bool(plan.recipe.counters))
    if name == "encoder":
        return plan.recipe, encoders
    best = record.best_of("encoder")
    if best is None:
        return plan.recipe, CountersJudge(data, None)
    encoders.ended(best=False)  # of a trial that the time has cut
    recipe = override(plan.recipe, best.options)
    return recipe, CountersJudge(data, encoders.best_part(recipe))


def _until(plan: Plan, began: float, stages: int) -> float:
    """Return when the first of so many stages ends, on the monotonic clock."""
    now = time.monotonic()
    return math.inf if plan.max_seconds is None else now + (began + plan.max_seconds - now) / stages


def _check_ended(record: Record, name: Stage, plan: Plan) -> None:
    """Refuse to go on from a stage in which no trial came to its end."""
    if record.best_of(name) is not None:
        return
    errors = [trial.error for trial in record.of(name) if trial.error is not None]
    if errors:
        raise TrainingError(f"none of the {len(record.of(name))} trials of the {name} has a figure: {errors[-1]}")
    raise TrainingError(
        f"no trial of the {name} came to its end in its part of {plan.max_seconds:g} seconds: go on with --resume, "
        "with more --max-seconds"
    )
