"""Real brokers for tests, a clean environment, and a word about what could not run.

Brokers start when the first test asks for one, and serve all tests of the session; so every test uses topics and
groups of its own (`new_name`, `new_settings`).
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from deploy.local.embedded import EmbeddedBroker
from deploy.local.errors import MissingProgram
from deploy.local.kafka import KafkaBroker
from stream.settings import Settings
from tests import not_run

# torch's first call takes longer than hypothesis' deadline for one example.
hypothesis_settings.register_profile("nextclick", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis_settings.load_profile("nextclick")

NAMED_BROKERS = "NEXTCLICK_TEST_BROKERS"
BROKER_FIXTURES = {"embedded_broker", "apache_kafka", "kafka_broker", "broker"}

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background lets us ignore Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if BROKER_FIXTURES.intersection(getattr(item, "fixturenames", [])):
            item.add_marker("broker")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in not_run.reasons:
        terminalreporter.write_line(sentence, yellow=True)


@pytest.fixture(autouse=True)
def _no_settings_from_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("NEXTCLICK_") and not name.startswith("NEXTCLICK_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """Bootstrap address of Tansu."""
    with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[str | None]:
    """Bootstrap address of the broker named in NEXTCLICK_TEST_BROKERS, else of Apache Kafka started here.

    None where Java or Maven is missing; in CI, where Kafka itself must run, that is a failure.
    """
    if named := os.environ.get(NAMED_BROKERS):
        yield named
        return
    try:
        kafka = KafkaBroker().__enter__()
    except MissingProgram as error:
        if os.environ.get("CI"):
            raise
        not_run.leave_out(f"Not run on Apache Kafka, only on the embedded broker: {error}")
        yield None
        return
    with kafka:
        yield kafka.bootstrap_servers


@pytest.fixture(scope="session")
def kafka_broker(apache_kafka: str | None, request: pytest.FixtureRequest) -> str:
    """Bootstrap address of the best broker there is: the named one, else Apache Kafka, else the embedded one."""
    return apache_kafka or str(request.getfixturevalue("embedded_broker"))


@pytest.fixture(params=["kafka", "embedded"])
def broker(request: pytest.FixtureRequest) -> str:
    """Bootstrap address; a test that takes this one runs on Apache Kafka and on the embedded broker."""
    if request.param == "embedded":
        return str(request.getfixturevalue("embedded_broker"))
    address = request.getfixturevalue("apache_kafka")
    if address is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    return str(address)


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Make a name for a topic or group that nothing else has: `new_name("clicks")`."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_settings(new_name: Callable[[str], str]) -> Callable[..., Settings]:
    """Make settings for a broker whose topics and group are this test's alone.

    `new_settings(broker, topics={"partitions": 2}, worker={"batch_max_events": 8})`
    """

    def make(bootstrap_servers: str, **groups: dict[str, Any]) -> Settings:
        fields = ("clicks", "recommendations", "dead_letters", "catalogue", "rules", "bundles", "erasures")
        ours: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": bootstrap_servers},
            "topics": {field: new_name(field) for field in fields},
            "worker": {"app_id": new_name("nextclick")},
            "monitoring": {"port": 0},
        }
        return Settings.model_validate({name: ours.get(name, {}) | groups.get(name, {}) for name in ours | groups})

    return make
