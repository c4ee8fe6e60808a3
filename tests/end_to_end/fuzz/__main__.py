"""`python -m tests.end_to_end.fuzz`: wrong records between valid ones, and what became of each of them.

python -m tests.end_to_end.fuzz --events 1000000 --seed 7
"""

import argparse
import contextlib
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.kafka import KafkaBroker
from deploy.local.process import ended_like_ctrl_c
from serving.bundle import load_bundle
from serving.recommender import Recommender
from stream.metrics import OUTCOMES
from stream.settings import Settings
from tests.end_to_end.chaos.topics import as_record, reader_options
from tests.end_to_end.fuzz.checker import Checker
from tests.end_to_end.fuzz.sender import LARGEST_REQUEST
from tests.end_to_end.service import Service, Worker
from tests.tiny_bundle import write_tiny_bundle

# Records that are sent before those ahead of them are settled: enough for full batches, little to keep in memory.
AHEAD = 20_000
ALLOW_EACH = 2_000
READ_AT_ONCE = 2_000
WAIT_S = 0.05
SILENCE_S = 120.0
SAY_EVERY_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Records that nobody should send.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, help="any number; drawn when it is left out")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for the worker's log, where something fails")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    keep = arguments.keep or Path(tempfile.mkdtemp(prefix="nextclick-fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    print(f"fuzz events={arguments.events} seed={seed} logs={keep}", flush=True)
    if not (keep / "bundle").exists():
        write_tiny_bundle(keep / "bundle")
    with (
        ended_like_ctrl_c(),
        KafkaBroker() as broker,
        Service(_settings(broker.bootstrap_servers), keep / "bundle", keep) as service,
    ):
        checker = _run(service, arguments.events, seed)
    failed = checker.failed.total()
    _summarise(checker)
    passed = checker.settled.total() >= arguments.events and not failed
    if passed and arguments.keep is None:
        shutil.rmtree(keep)
    print(f"{checker.settled.total()} passed, {failed} failed")
    return 0 if passed else 1


def _run(service: Service, events: int, seed: int) -> Checker:
    service.create_topics()
    worker = service.start_worker().wait_until_ready()
    settings = service.settings
    recommender = Recommender(load_bundle(service.bundle), settings.serving)
    serving = settings.serving
    checker = Checker(recommender, settings.topics.clicks, serving.session_gap_s, serving.session_length)
    command = [sys.executable, "-m", f"{__package__}.sender", "--servers", service.servers]
    command += ["--topic", settings.topics.clicks, "--events", str(events), "--seed", str(seed)]
    began = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as sender:
        try:
            _follow(service, checker, sender, events, worker)
        finally:
            assert sender.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                sender.stdin.close()
        assert sender.stdout is not None
        said = sender.stdout.read().decode()
    checker.finish()
    if not said.startswith("0 "):
        checker.fail("not sent", said)
    _check_counts(checker, worker)
    print(f"{checker.count / (time.monotonic() - began):.0f} records/s, all of it")
    return checker


def _follow(service: Service, checker: Checker, sender: "subprocess.Popen[bytes]", events: int, worker: Worker) -> None:
    """Read the topics until every record is settled, nothing more comes, or the worker ends."""
    topics = service.settings.topics
    take = {
        topics.clicks: checker.click,
        topics.recommendations: checker.recommendation,
        topics.dead_letters: checker.dead_letter,
    }
    options = {"queued.max.messages.kbytes": 65_536, "fetch.message.max.bytes": LARGEST_REQUEST}
    consumer = Consumer(reader_options(service.servers) | options | {"enable.partition.eof": False})
    consumer.assign(
        [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in take for number in range(topics.partitions)]
    )
    allowed, heard_at, said_at = 0, time.monotonic(), time.monotonic()
    try:
        while checker.count < events and time.monotonic() - heard_at < SILENCE_S and not sender.poll():
            if checker.count + AHEAD - allowed >= ALLOW_EACH and allowed < events:
                allowed = min(events, checker.count + AHEAD)
                _tell(sender, allowed)
            messages = consumer.consume(READ_AT_ONCE, WAIT_S)
            for message in messages:
                if message.error() is None:
                    take[message.topic()](as_record(message))
                    heard_at = time.monotonic()
            if len(messages) < READ_AT_ONCE:
                checker.ask()
            if worker.process.returncode is not None:
                checker.fail("the worker ended", worker.process.last_lines())
                return
            if time.monotonic() - said_at > SAY_EVERY_S:
                print(f"  {checker.count} settled", flush=True)
                said_at = time.monotonic()
    finally:
        consumer.close()


def _tell(sender: "subprocess.Popen[bytes]", allowed: int) -> None:
    assert sender.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died, and what it did not send will be missed
        sender.stdin.write(b"%d\n" % allowed)
        sender.stdin.flush()


def _check_counts(checker: Checker, worker: Worker) -> None:
    """Compare what the topics say with what the worker counts: read = served + dead letters + duplicates."""
    if worker.process.returncode is not None:
        return
    counted = {outcome: worker.metric("events_total", outcome=outcome) for outcome in OUTCOMES}
    settled = checker.settled
    seen = {"served": settled["served"], "duplicate": settled["duplicate"]}
    seen["dead_letter"] = settled.total() - sum(seen.values())
    if any(counted[outcome] != count for outcome, count in seen.items()):
        checker.fail("the worker counts otherwise", f"{counted}, and the topics {seen}")


def _summarise(checker: Checker) -> None:
    rows: dict[str, Any] = {"sent": checker.kinds, "became": checker.settled, "failed": checker.failed}
    for title, counts in rows.items():
        print(f"\n{title}: {counts.total()}")
        for name, count in counts.most_common():
            print(f"  {name:<32} {count:>9}")
    for example in checker.examples:
        print(f"  {example[:500]}")


def _settings(servers: str) -> Settings:
    name = f"fuzz-{uuid.uuid4().hex[:8]}"
    return Settings.model_validate({"kafka": {"bootstrap_servers": servers}, "worker": {"app_id": name}})


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
