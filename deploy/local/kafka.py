"""Apache Kafka on this machine without Docker: one node in KRaft mode, broker and controller in one Java process."""

import base64
import uuid
from pathlib import Path

from deploy.local.broker import LocalBroker
from deploy.local.errors import LocalBrokerError
from deploy.local.java import KAFKA_VERSION, java, kafka_jars
from deploy.local.process import BackgroundProcess, free_port

HEAP = "512m"

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}

# One node: internal topics have one copy, and few partitions.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# A typing error in a topic's name is an error, not a new topic.
auto.create.topics.enable=false
# A group's first member need not wait for others, and a test may notice a dead one soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After SIGKILL the controller refuses the broker until its former self has timed out (9 s by default).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# 128 MB by default, a quarter of the heap.
log.cleaner.dedupe.buffer.size=16777216
"""

LOG4J_PROPERTIES = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
"""


class KafkaBroker(LocalBroker):
    """Apache Kafka 4.3: `with KafkaBroker() as broker: ... broker.bootstrap_servers`.

    Its jars are fetched with Maven the first time, into ~/.cache/nextclick. Data survive `stop`, `kill` and `restart`,
    and go with `close`.
    """

    kind = "kafka"
    name = f"Apache Kafka {KAFKA_VERSION}"
    start_timeout_s = 120

    def command(self) -> list[str]:
        """Write the configuration, format the data folder the first time, and return Kafka's command line."""
        properties = self.folder / "server.properties"
        data = self.folder / "data"
        # The voters are in the configuration, not in the data: the controller may move to another port.
        properties.write_text(
            SERVER_PROPERTIES.format(port=self.port, controller_port=free_port(), data=data), encoding="latin-1"
        )
        (self.folder / "log4j2.properties").write_text(LOG4J_PROPERTIES)
        if not (data / "meta.properties").exists():
            self._format(properties)
        heap = [f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
        return [*self._java(*heap), "kafka.Kafka", str(properties)]

    def _java(self, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [str(java()), *options, "-Djava.awt.headless=true", logging, "-cp", str(kafka_jars() / "*")]

    def _format(self, properties: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word: an id may begin with a hyphen, and would be taken for an option.
        command = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(properties)]
        # The tool is over before the optimising compiler pays: 0.7 s instead of 1.4 s.
        line = [*self._java("-XX:TieredStopAtLevel=1"), *command]
        run = BackgroundProcess(self.name, line, log=self.log, guard=self._guard)
        if code := run.wait(timeout_s=120):
            raise LocalBrokerError(f"{self.name} could not format {properties} (exit code {code}). {run.last_lines()}")
