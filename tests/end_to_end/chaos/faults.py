"""What is done to a service. Each fault returns when it is over; whether lists flow again is seen afterwards.

It returns whether it happened: a worker that is about to be killed may have ended by itself. `TimeoutError` says that
it happened, and had not the effect that it must have.
"""

import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stream.contract.dead_letter import read_cause
from tests.end_to_end.chaos.patience import wait_until

if TYPE_CHECKING:
    from tests.end_to_end.chaos.deployment import Deployment
    from tests.end_to_end.chaos.workers import Slot

Inject = Callable[["Deployment", random.Random], bool]

# What a worker may take to notice, and to end with a sentence.
NOTICE_S = 40.0
STOP_S = 15.0
# A click that kills is tried several times, alone in the end, and each time somebody must take over.
GIVE_UP_S = 150.0
POISONED = 400
DEADLY_REASON = "kills_worker"
# What the operating system says of a full disk, in whatever sentence.
NO_SPACE = "No space left"
SMALLEST_RECORD = "100"
USUAL_RECORD = "1048588"


class Fault(NamedTuple):
    """A fault and what a round needs for it.

    `silence_s` is how long a partition may go without a list when this happens, `workers` how many there must be at
    least. `alone` means that no other fault fits beside it, `of_broker` that none fits that needs the broker or takes
    it away, `needs_disk` that sessions must be on a disk. `stock` says whether a plain Faust program claims to get over
    it.
    """

    name: str
    inject: Inject
    silence_s: float
    workers: int = 1
    alone: bool = False
    of_broker: bool = False
    needs_disk: bool = False
    stock: bool = True

    def fits(self, other: "Fault") -> bool:
        """Whether both can happen in one round."""
        return not (self.alone or other.alone or (self.of_broker and other.of_broker))


def kill(service: "Deployment", rng: random.Random) -> bool:
    """Kill a worker at any moment; it is started again."""
    return _killed(_some(service.pool.running, rng, 1))


def kill_two(service: "Deployment", rng: random.Random) -> bool:
    """Kill two workers at the same time."""
    return _killed(_some(service.pool.running, rng, 2))


def freeze(service: "Deployment", rng: random.Random) -> bool:
    """Stop a worker for longer than its session lasts, and let it go on with what it had in hand.

    In half of the cases another one is killed soon after: whoever takes over reads what the frozen one wrote too late.
    """
    chosen = _some([slot for slot in service.pool.running if slot.is_ready], rng, 2)
    if not chosen:
        return False
    slot, other = chosen
    run = slot.log
    if not slot.signal(signal.SIGSTOP):
        return False
    time.sleep(service.settings.worker.session_timeout_s + rng.uniform(0.3, 2.5))
    if not slot.signal(signal.SIGCONT) or slot.log != run:  # another fault killed it
        return False
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, 1.0))
        _killed([other])
    return True


def broker(service: "Deployment", rng: random.Random) -> bool:
    """Kill the broker, and start it again on its port with its data."""
    service.broker.kill()
    time.sleep(rng.uniform(0.0, 2.0))
    service.broker.start()
    return True


def stall(service: "Deployment", rng: random.Random) -> bool:
    """Freeze the broker for moments, and kill a worker about when it thaws.

    What the worker had handed to the network then arrives, in whatever order, and what it still held is gone: this is
    where a commit overtakes the list or the state that it stands for, if anything lets it.
    """
    killed = 0
    for _ in range(rng.randint(2, 3)):
        slot = rng.choice(service.pool.wanted)
        service.broker.process.send(signal.SIGSTOP)
        try:
            time.sleep(rng.uniform(0.3, 1.2))
            if thawed := rng.random() < 0.5:
                service.broker.process.send(signal.SIGCONT)
                time.sleep(rng.uniform(0.0, 0.02))
            killed += slot.signal(signal.SIGKILL)
            time.sleep(0.0 if thawed else 0.05)
        finally:
            service.broker.process.send(signal.SIGCONT)
        _ready(slot)
        time.sleep(rng.uniform(0.5, 1.5))
    return killed > 0


def join(service: "Deployment", rng: random.Random) -> bool:
    """Start another worker."""
    slot = service.pool.add()
    _ready(slot)
    return slot.wanted


def leave(service: "Deployment", rng: random.Random) -> bool:
    """Ask a worker to stop, for good."""
    chosen = _some(service.pool.running, rng, 1)
    if not chosen:
        return False
    slot = chosen[0]
    if not slot.ask_to_stop():  # it has ended just now
        slot.wanted = True
        return False
    wait_until(lambda: not slot.runs, STOP_S, f"{slot.name} stops, as it was asked to")
    return True


def refuse(service: "Deployment", rng: random.Random) -> bool:
    """Let the broker refuse every list; a worker must end then, and nothing may be lost."""
    topic = service.names["recommendations"]
    before = service.pool.ends_that_name(topic)
    service.configure(topic, "max.message.bytes", SMALLEST_RECORD)
    try:
        if not service.stock:
            wait_until(
                lambda: service.pool.ends_that_name(topic) > before,
                NOTICE_S,
                lambda: f"a worker ends because its list is refused; {service.pool.ends}",
            )
        time.sleep(rng.uniform(0.0, 2.0))
    finally:
        service.configure(topic, "max.message.bytes", USUAL_RECORD)
    return True


def fill_disk(service: "Deployment", rng: random.Random) -> bool:
    """Leave no room on the disk of the session stores for a while, and until a worker ends because of it."""
    assert service.disk is not None
    before = service.pool.ends_that_name(NO_SPACE)
    deadline = time.monotonic() + NOTICE_S
    with service.disk.full():
        time.sleep(rng.uniform(3.0, 6.0))
        while not (noticed := service.pool.ends_that_name(NO_SPACE) > before) and time.monotonic() < deadline:
            time.sleep(0.05)
    return noticed


def deadly(service: "Deployment", rng: random.Random) -> bool:
    """Send a click that kills whoever works on it, until somebody gives it up."""
    service.tell_generator("deadly")

    def given_up() -> bool:
        letters = service.read("dead_letters")
        return any(cause.reason == DEADLY_REASON for each in letters if (cause := read_cause(each.headers)))

    wait_until(given_up, GIVE_UP_S, "the click that kills workers is a dead letter")
    return True


def poison(service: "Deployment", rng: random.Random) -> bool:
    """Send many records in a row that are no clicks, beside the few that are always there."""
    service.tell_generator(f"poison {POISONED}")
    time.sleep(1.0)
    return True


def clicks_made_again(service: "Deployment", rng: random.Random) -> bool:
    """Delete the clicks and create them anew: every worker must refuse to go on until the operator has decided."""
    slots = service.pool.wanted
    before = {slot.name: len(slot.ends) for slot in slots}
    service.make_clicks_again()
    wait_until(
        lambda: all(len(slot.ends) > before[slot.name] for slot in slots),
        NOTICE_S,
        lambda: f"every worker ends because the clicks are another topic; {service.pool.ends}",
    )
    service.pool.hold(True)
    wait_until(lambda: not any(slot.runs for slot in slots), NOTICE_S, "a worker that was started again refuses too")
    service.make_changelog_again()
    service.pool.hold(False)
    return True


def _killed(slots: list["Slot"]) -> bool:
    """Kill them, and wait until they are back; tell whether there were some, and each was there to be killed."""
    before = {slot.name: len(slot.ends) for slot in slots}
    killed = [slot for slot in slots if slot.signal(signal.SIGKILL)]
    wait_until(lambda: all(len(slot.ends) > before[slot.name] for slot in killed), 5, "the killed workers are gone")
    for slot in slots:
        _ready(slot)
    return 0 < len(killed) == len(slots)


def _ready(slot: "Slot") -> None:
    wait_until(lambda: slot.is_ready or not slot.wanted, 90, f"{slot.name} is ready")


def _some(slots: list["Slot"], rng: random.Random, count: int) -> list["Slot"]:
    """Choose so many; none where there are fewer."""
    return rng.sample(slots, count) if len(slots) >= count else []


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill", kill, silence_s=15),
        Fault("kill-two", kill_two, silence_s=15, workers=2),
        Fault("freeze", freeze, silence_s=15, workers=2),
        Fault("broker", broker, silence_s=25, of_broker=True),
        Fault("stall", stall, silence_s=25, workers=2, of_broker=True),
        Fault("join", join, silence_s=10),
        Fault("leave", leave, silence_s=10, workers=2),
        Fault("refuse", refuse, silence_s=20, of_broker=True),
        Fault("disk-full", fill_disk, silence_s=25, needs_disk=True, stock=False),
        Fault("deadly", deadly, silence_s=30, stock=False),
        Fault("poison", poison, silence_s=5),
        Fault("clicks-made-again", clicks_made_again, silence_s=30, alone=True, stock=False),
    )
}
