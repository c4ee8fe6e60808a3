"""One round, from its plan to its verdict."""

import contextlib
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.kafka import KafkaBroker
from tests.end_to_end.chaos import verdict as judged
from tests.end_to_end.chaos.clickstream import EXPIRY_GRACE_S, SESSION_GAP_S, SESSION_LENGTH
from tests.end_to_end.chaos.deployment import PARTITIONS, Deployment
from tests.end_to_end.chaos.faults import DEADLY_REASON, FAULTS
from tests.end_to_end.chaos.oracle import Expected, expect
from tests.end_to_end.chaos.plan import Plan
from tests.end_to_end.chaos.topics import Record
from tests.end_to_end.chaos.verdict import Found, Verdict
from tests.end_to_end.chaos.workers import End

# A fault begins at any moment of these seconds, and is tried for so long until it happens: workers may have ended that
# it needs.
WITHIN_S = 2.0
TRY_S = 90.0
TRY_EVERY_S = 0.1
FLOW_AGAIN_S = 60.0
SETTLE_S = 1.0
# Of the clicks that should come: an outage of the broker delays some of them beyond the end of the round.
LEAST_SHARE = 500 / 650


@dataclass
class Outcome:
    """A round's verdict and figures."""

    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)
    injected: set[str] = field(default_factory=set)
    """The faults that happened."""
    silence_s: float = 0.0
    seconds: float = 0.0
    clicks: int = 0
    clicks_per_s: float = 0.0
    lists: int = 0
    copies: int = 0
    ends: list[End] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.verdict.broken


def run_round(broker: KafkaBroker, bundle: Path, plan: Plan, folder: Path, *, stock: bool) -> Outcome:
    """Run a round on this broker, which is up before and after it."""
    outcome, began = Outcome(plan), time.monotonic()
    try:
        with Deployment(broker, bundle, plan, folder, stock=stock) as service:
            flowing_ms = _play(service, outcome)
            _examine(service, outcome, flowing_ms)
    except TimeoutError as error:
        outcome.verdict.add(judged.BLOCKED, str(error))
    except Exception:  # one round must not end the others
        outcome.verdict.add(judged.BLOCKED, traceback.format_exc())
    outcome.seconds = time.monotonic() - began
    return outcome


def _play(service: Deployment, outcome: Outcome) -> int:
    """Let the faults happen while clicks come, and let the service come to rest; returns when lists first flowed."""
    service.wait_until_ready()
    service.wait_until_lists_flow(FLOW_AGAIN_S)
    flowing_ms = round(time.time() * 1000)
    threads = [
        threading.Thread(target=_inject, args=(service, name, outcome), name=name, daemon=True)
        for name in service.plan.faults
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with _in_time(outcome.verdict):
        service.wait_until_lists_flow(FLOW_AGAIN_S)
        time.sleep(SETTLE_S)
    service.stop_generator()
    with _in_time(outcome.verdict):
        service.wait_until_drained()
        service.watch.stop()
        service.pool.stop()
    return flowing_ms


@contextlib.contextmanager
def _in_time(verdict: Verdict) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        verdict.add(judged.BLOCKED, str(error))


def _inject(service: Deployment, name: str, outcome: Outcome) -> None:
    """Let a fault happen, and note that it did."""
    rng = service.plan.rng(name)
    time.sleep(rng.uniform(0.0, WITHIN_S))
    deadline = time.monotonic() + TRY_S
    try:
        while not FAULTS[name].inject(service, rng):
            if time.monotonic() > deadline:
                outcome.verdict.add(judged.MISSED, f"{name} was tried for {TRY_S:g} s")
                return
            time.sleep(TRY_EVERY_S)
    except TimeoutError as error:  # it happened
        outcome.verdict.add(judged.BLOCKED, f"{name}: {error}")
    except Exception as error:  # the others must go on
        outcome.verdict.add(judged.BLOCKED, f"{name}: {error!r}")
        return
    outcome.injected.add(name)


def _examine(service: Deployment, outcome: Outcome, flowing_ms: int) -> None:
    """Read the topics back and compare them with the oracle."""
    plan, verdict = service.plan, outcome.verdict
    found = Found(
        service.read("clicks"),
        service.earlier_clicks,
        service.read("recommendations"),
        service.read("dead_letters"),
        service.read("changelog"),
    )
    expected, earlier = _expected(service, found.clicks), _expected(service, found.earlier_clicks)
    lists = judged.check_lists(found, expected, earlier, verdict)
    letters = judged.check_letters(found, expected, earlier, service.names["clicks"], verdict)
    written = judged.check_states(found, expected, (SESSION_GAP_S + EXPIRY_GRACE_S) * 1000, verdict)
    judged.check_commits(service.watch.samples, found, expected, lists, letters, written, verdict)
    _examine_ends(service, verdict)

    ending_ms = max(record.timestamp_ms for record in found.clicks)
    times = judged.append_times(found.recommendations, PARTITIONS)
    outcome.silence_s = judged.longest_silence_s(times, flowing_ms, ending_ms)
    bound_s = sum(FAULTS[name].silence_s for name in plan.faults)
    if outcome.silence_s > bound_s:
        verdict.add(judged.SILENT, f"a partition had no list for {outcome.silence_s:.1f} s; {bound_s:g} s are too long")

    clicks = [*found.earlier_clicks, *found.clicks]
    began_ms = min(record.timestamp_ms for record in clicks)
    outcome.clicks = len(clicks)
    outcome.clicks_per_s = 1000 * len(clicks) / (ending_ms - began_ms)
    if outcome.clicks_per_s < LEAST_SHARE * service.rate:
        verdict.add(judged.SLOW, f"{outcome.clicks_per_s:.0f} clicks/s; the round says nothing")
    acknowledged = sum(report["acknowledged"] for report in service.reports)
    if acknowledged > len(clicks):
        verdict.add(judged.SLOW, f"the broker acknowledged {acknowledged} clicks and has {len(clicks)}")
    outcome.lists, outcome.copies = len(lists), len(found.recommendations) - len(lists)
    outcome.ends = service.pool.ends


def _expected(service: Deployment, clicks: Sequence[Record]) -> Expected:
    reason = DEADLY_REASON if "deadly" in service.plan.faults else None
    return expect(clicks, service.recommender(), gap_s=SESSION_GAP_S, length=SESSION_LENGTH, deadly_reason=reason)


def _examine_ends(service: Deployment, verdict: Verdict) -> None:
    """Look how the workers ended: as they were told, or by themselves with a sentence."""
    for end in () if service.stock else service.pool.ends:
        killed_itself = end.code < 0 and "deadly" in service.plan.faults
        if not (end.asked or end.why or killed_itself):
            verdict.add(judged.ENDED, f"{end.worker} ended with code {end.code}")
