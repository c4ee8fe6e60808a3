"""Workers that keep their sessions on disk: what they read again, what they refuse, and that nothing is lost."""

import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.contract.specs import changelog_name
from tests.end_to_end.service import Service, Worker
from tests.end_to_end.test_worker import by_id, clicks_of, expected

pytestmark = pytest.mark.end_to_end

NewService = Callable[..., Service]


def start(service: Service, state_dir: Path) -> Worker:
    return service.start_worker(WORKER__STORE="rocksdb", WORKER__STATE_DIR=str(state_dir))


def sessions_of(worker: Worker) -> int:
    found = re.search(r"ready: .* sessions=(\d+) ", worker.output)
    assert found, worker.output
    return int(found[1])


def test_a_start_reads_only_what_is_newer_than_the_disk(
    kafka_broker: str, new_service: NewService, tiny_bundle: Path, tmp_path: Path
) -> None:
    service = new_service(kafka_broker, partitions=2)
    service.create_topics()
    state_dir = tmp_path / "state"
    clicks = clicks_of(900)

    worker = start(service, state_dir).wait_until_ready()
    service.send_clicks(clicks[:300])
    service.read_lists(clicks[:300])
    assert worker.process.stop(15) == 0

    worker = start(service, state_dir).wait_until_ready()
    assert sessions_of(worker) == 20
    # Faust reads the last record of each partition again, and each ends with a note that was taken back at the stop.
    assert worker.metric("recovered_records_total") <= 4
    service.send_clicks(clicks[300:600])
    service.read_lists(clicks[300:600])
    worker.process.send(signal.SIGKILL)
    worker.process.wait(15)

    worker = start(service, state_dir).wait_until_ready()
    assert worker.metric("recovered_records_total") <= 30  # what was acknowledged and not stored yet, at most
    second = start(service, state_dir)
    assert second.process.wait(30) == 2
    assert f"worker.state_dir = {state_dir} is in use by another worker (process {worker.process.pid})" in second.output
    service.send_clicks(clicks[600:])
    assert by_id(service.read_lists(clicks)) == expected(clicks, tiny_bundle)
    assert worker.process.stop(15) == 0

    # Whoever deletes the changelog wants empty sessions, whatever a disk has.
    service.delete_topic(changelog_name(service.settings))
    service.create_topics()
    assert sessions_of(start(service, state_dir).wait_until_ready()) == 0


def test_a_worker_on_a_full_disk_says_so_and_the_next_one_goes_on(
    kafka_broker: str, new_service: NewService, tiny_bundle: Path, tmp_path: Path
) -> None:
    service = new_service(kafka_broker, partitions=2)
    service.create_topics()
    state_dir = tmp_path / "state"
    clicks = clicks_of(600)
    worker = start(service, state_dir).wait_until_ready()
    service.send_clicks(clicks[:100])
    service.read_lists(clicks[:100])
    # The kernel lets no file grow beyond this, as if the disk were full. The worker's own log must still fit.
    most = worker.log.stat().st_size + 6_000
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (most, most))
    service.send_clicks(clicks[100:])
    assert worker.process.wait(60) == 1
    assert (
        f"session states on disk cannot be written in {state_dir}/{changelog_name(service.settings)}" in worker.output
    )
    assert "make room on the disk" in worker.output

    start(service, state_dir).wait_until_ready()
    assert by_id(service.read_lists(clicks)) == expected(clicks, tiny_bundle)
