"""What keeps a worker from serving, each told in a sentence with the remedy, and without a traceback."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka.admin import NewTopic

from deploy.local.process import free_port
from serving.events import Click
from stream.contract.specs import changelog_name
from stream.settings import Settings
from tests.end_to_end.service import Service, Worker, get, plain
from tests.tiny_bundle import write_tiny_bundle
from tests.waiting import wait_for

pytestmark = pytest.mark.end_to_end

NewService = Callable[..., Service]
CLICK = Click("e1", "s1", "i1", 1_700_000_000_000)


def assert_refused(worker: Worker, *parts: str, code: int = 1) -> None:
    """It ends with this code, and its last line is a sentence that has all the parts."""
    assert worker.process.wait(timeout_s=60) == code
    last = worker.output.strip().splitlines()[-1]
    assert last.startswith("nextclick: ")
    assert all(part in last for part in parts), last
    assert "Traceback" not in worker.output


def test_without_topics_it_says_how_to_make_them(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    assert_refused(service.start_worker(), service.settings.topics.clicks, "nextclick topics create")


def test_a_changelog_with_other_partitions_is_refused(broker: str, new_service: NewService) -> None:
    service = new_service(broker, partitions=3)
    changelog = changelog_name(service.settings)
    service.admin.create_topics([NewTopic(changelog, 2, 1)])
    service.create_topics()
    assert_refused(service.start_worker(), "3 partitions", f"{changelog} has 2", "app_id")


def test_clicks_that_were_deleted_and_made_again_are_refused(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    worker = service.start_worker().wait_until_ready()
    service.send_clicks([CLICK])
    service.read_lists([CLICK])
    worker.process.send(signal.SIGTERM)
    assert worker.process.wait(timeout_s=10) == 0
    service.delete_topic(service.settings.topics.clicks)
    service.create_topics()
    assert_refused(service.start_worker(), "deleted and made again", changelog_name(service.settings), "app_id")


def test_a_broker_that_is_away_is_waited_for_and_then_named(
    new_settings: Callable[..., Settings], tiny_bundle: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    with Service(new_settings(address), tiny_bundle, tmp_path) as service:
        assert_refused(service.start_worker(WORKER__BROKER_WAIT_S="2"), address, "2 s", "nextclick broker")


def test_a_worker_that_waits_for_its_broker_can_be_stopped_at_once(
    new_settings: Callable[..., Settings], tiny_bundle: Path, tmp_path: Path
) -> None:
    with Service(new_settings(f"127.0.0.1:{free_port()}"), tiny_bundle, tmp_path) as service:
        worker = service.start_worker()
        wait_for(lambda: "waiting for Kafka" in worker.output)
        worker.process.send(signal.SIGTERM)
        assert worker.process.wait(timeout_s=5) == 0


@pytest.mark.parametrize("sign", ["bundle loaded", "nextclick worker ready"])
def test_a_worker_can_be_stopped_while_it_starts(kafka_broker: str, new_service: NewService, sign: str) -> None:
    service = new_service(kafka_broker)
    service.create_topics()
    worker = service.start_worker()
    wait_for(lambda: sign in worker.output, every_s=0.001)
    worker.process.send(signal.SIGTERM)
    assert worker.process.wait(timeout_s=10) == 0


def test_ready_says_what_a_worker_waits_for(
    new_settings: Callable[..., Settings], tiny_bundle: Path, tmp_path: Path
) -> None:
    port = str(free_port())
    with Service(new_settings(f"127.0.0.1:{free_port()}"), tiny_bundle, tmp_path) as service:
        worker = service.start_worker(metrics_port=port)
        wait_for(lambda: "waiting for Kafka" in worker.output)
        status, body = get(f"http://127.0.0.1:{port}/ready")
        assert (status, json.loads(body)["missing"]) == (503, ["topics", "control", "tables"])
        assert get(f"http://127.0.0.1:{port}/live")[0] == 200


def test_a_bundle_that_is_not_there_is_refused(kafka_broker: str, new_service: NewService, tmp_path: Path) -> None:
    service = new_service(kafka_broker)
    service.bundle = tmp_path / "nowhere"
    assert_refused(service.start_worker(), "nowhere")


@pytest.mark.parametrize("name", ["encoder.step.onnx", "index.faiss"])
def test_a_bundle_with_one_wrong_bit_is_refused(
    kafka_broker: str, new_service: NewService, tmp_path: Path, name: str
) -> None:
    service = new_service(kafka_broker)
    service.bundle = Path(shutil.copytree(service.bundle, tmp_path / "broken"))
    file = service.bundle / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert_refused(service.start_worker(), name, "copy the bundle again")


def test_a_bundle_that_needs_the_time_of_the_query_is_refused(
    kafka_broker: str, new_service: NewService, tmp_path: Path
) -> None:
    service = new_service(kafka_broker)
    service.bundle = tmp_path / "comparisons-only"
    write_tiny_bundle(service.bundle, form="window", time_of="query")
    assert_refused(service.start_worker(), "needs query_time", "model.time_of=last", code=2)


def test_a_port_that_is_taken_is_refused(kafka_broker: str, new_service: NewService) -> None:
    service = new_service(kafka_broker)
    service.create_topics()
    url = service.start_worker().wait_until_ready().url
    port = url.rpartition(":")[2]
    assert_refused(service.start_worker(metrics_port=port), f":{port}", "monitoring.port")


def test_a_topic_that_takes_no_list_ends_the_worker_and_the_click_is_read_again(
    apache_kafka: str | None, new_service: NewService
) -> None:
    if apache_kafka is None:  # the embedded broker refuses no record
        pytest.skip("there is no Apache Kafka here; the summary says why")
    service = new_service(apache_kafka)
    service.create_topics()
    service.limit_records(service.settings.topics.recommendations, largest_bytes=100)
    worker = service.start_worker().wait_until_ready()
    service.send(plain(CLICK)).get(timeout=30)
    assert_refused(worker, service.settings.topics.recommendations, "read again")

    service.limit_records(service.settings.topics.recommendations, largest_bytes=1_000_000)
    service.start_worker().wait_until_ready()
    assert [each.trigger_event_id for each in service.read_lists([CLICK])] == ["e1"]
