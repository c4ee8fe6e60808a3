"""`python -m tests.end_to_end.chaos`: rounds of faults, and at the end how often each promise was broken.

python -m tests.end_to_end.chaos --rounds 100 --seed 7
python -m tests.end_to_end.chaos --seed 7 --only 42     # one round again
python -m tests.end_to_end.chaos --stock --rounds 20    # a plain Faust program in place of the worker
"""

import argparse
import dataclasses
import itertools
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.local.kafka import KafkaBroker
from deploy.local.process import ended_like_ctrl_c
from tests.end_to_end.chaos.faults import FAULTS
from tests.end_to_end.chaos.plan import Plan, plans
from tests.end_to_end.chaos.rounds import Outcome, run_round
from tests.end_to_end.chaos.verdict import PROMISES
from tests.tiny_bundle import write_tiny_bundle

# A broker keeps something of every topic that it ever had; a new one now and then costs five seconds.
ROUNDS_OF_A_BROKER = 25
# So many rounds prove something of every fault, so each must have happened.
ROUNDS_FOR_ALL = 100


def main() -> int:
    arguments = _arguments()
    names = _fault_names(arguments.faults, stock=arguments.stock)
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    rounds = _chosen(plans(seed, names), arguments.rounds, arguments.only)
    if arguments.stock:  # it has neither
        rounds = [dataclasses.replace(plan, store="memory", static=False) for plan in rounds]
    keep = arguments.keep or Path(tempfile.mkdtemp(prefix="nextclick-chaos-"))
    print(f"chaos seed={seed} faults={','.join(names)} logs={keep}", flush=True)
    outcomes: list[Outcome] = []
    repeat = f"{sys.executable} -m {__package__} --seed {seed}{' --stock' * arguments.stock}"
    repeat += f" --faults {arguments.faults}" if arguments.faults else ""
    try:
        with ended_like_ctrl_c():
            for plan in _play(rounds, keep, outcomes, stock=arguments.stock):
                print(f"  again: {repeat} --only {plan.number}", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted in round {len(outcomes) + 1} of {len(rounds)}")
    if len(outcomes) == len(rounds) and all(outcome.passed for outcome in outcomes) and arguments.keep is None:
        shutil.rmtree(keep)
    return conclude(outcomes, len(rounds), names)


def conclude(outcomes: Sequence[Outcome], planned: int, names: Sequence[str]) -> int:
    """Print the summary, and return the exit code.

    Args:
        outcomes: of the rounds that were played.
        planned: how many there should have been.
        names: of the faults that were drawn from.

    """
    injected = Counter(name for outcome in outcomes for name in outcome.injected)
    _summarise(outcomes, names, injected)
    never = [name for name in names if not injected[name]]
    if never:
        print(f"never injected in {len(outcomes)} rounds: {', '.join(never)}")
    passed = sum(outcome.passed for outcome in outcomes)
    print(f"{passed} passed, {len(outcomes) - passed} failed")
    return 1 if passed < planned or (never and planned >= ROUNDS_FOR_ALL) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Faults, clicks, and an oracle.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, help="any number; drawn when it is left out")
    parser.add_argument("--only", type=int, metavar="N", help="play round N of the seed and no other")
    parser.add_argument("--faults", metavar="A,B", help=f"draw from these alone; there are {', '.join(FAULTS)}")
    parser.add_argument("--stock", action="store_true", help="a plain Faust program in place of the worker")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for the logs of failed rounds")
    arguments = parser.parse_args()
    if unknown := set((arguments.faults or "kill").split(",")) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    return arguments


def _fault_names(chosen: str | None, *, stock: bool) -> list[str]:
    names = chosen.split(",") if chosen else list(FAULTS)
    return [name for name in names if FAULTS[name].stock or not stock]


def _chosen(rounds: Iterable[Plan], count: int, only: int | None) -> list[Plan]:
    return list(itertools.islice(rounds, count)) if only is None else list(itertools.islice(rounds, only - 1, only))


def _play(rounds: Sequence[Plan], keep: Path, outcomes: list[Outcome], *, stock: bool) -> Iterable[Plan]:
    """Play the rounds; yield the plan of each that failed, its logs kept."""
    bundle = keep / "bundle"
    if not bundle.exists():
        write_tiny_bundle(bundle)
    for start in range(0, len(rounds), ROUNDS_OF_A_BROKER):
        with KafkaBroker() as broker:
            for plan in rounds[start : start + ROUNDS_OF_A_BROKER]:
                folder = keep / f"round-{plan.number}"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                outcome = run_round(broker, bundle, plan, folder, stock=stock)
                outcomes.append(outcome)
                _show(outcome)
                if outcome.passed:
                    shutil.rmtree(folder)
                else:
                    shutil.copy(broker.log, folder / "broker.log")
                    (folder / "verdict.txt").write_text(_in_full(outcome))
                    print(f"  logs: {folder}")
                    yield plan
                broker.start()  # where a fault has failed half-way


def _show(outcome: Outcome) -> None:
    broken = "; ".join(f"{count} {promise}" for promise, count in outcome.verdict.broken.items())
    print(
        f"{outcome.plan}: {broken or 'passed'}"
        f" [{outcome.clicks} clicks, {outcome.clicks_per_s:.0f}/s, {outcome.copies} lists twice,"
        f" {outcome.silence_s:.1f} s of silence, {len(outcome.ends)} ends, {outcome.seconds:.0f} s]",
        flush=True,
    )
    for promise, examples in outcome.verdict.examples.items():
        print(f"  {promise}: {examples[0][:400]}")


def _in_full(outcome: Outcome) -> str:
    lines = [str(outcome.plan), *map(str, outcome.ends)]
    for promise, examples in outcome.verdict.examples.items():
        lines += [f"{promise}: {outcome.verdict.broken[promise]}", *(f"  {example}" for example in examples)]
    return "\n".join(lines) + "\n"


def _summarise(outcomes: Sequence[Outcome], names: Sequence[str], injected: Counter[str]) -> None:
    alone: defaultdict[str, float] = defaultdict(float)
    paired: defaultdict[str, float] = defaultdict(float)
    for outcome in outcomes:
        for name in outcome.plan.faults:
            longest = alone if len(outcome.plan.faults) == 1 else paired
            longest[name] = max(longest[name], outcome.silence_s)
    print(f"\n{'fault':<18} {'injected':>8} {'longest silence':>16} {'with another fault':>19}")
    for name in names:
        print(f"{name:<18} {injected[name]:>8} {alone[name]:>14.1f} s {paired[name]:>17.1f} s")
    broken: Counter[str] = sum((outcome.verdict.broken for outcome in outcomes), Counter())
    print("\n" + "\n".join(f"{promise:<34} {broken[promise]:>6}" for promise in PROMISES))
    print(f"{'clicks':<34} {sum(outcome.clicks for outcome in outcomes):>6}")
    print(f"{'lists':<34} {sum(outcome.lists for outcome in outcomes):>6}")
    print(f"{'identical duplicates of lists':<34} {sum(outcome.copies for outcome in outcomes):>6}")
    print(f"{'longest silence, seconds':<34} {max((o.silence_s for o in outcomes), default=0.0):>6.1f}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # kafka-python tells at length of brokers that are killed
    sys.exit(main())
