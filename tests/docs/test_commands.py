"""Every command block of the README and the docs is run, in order, page by page, in an empty folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.process import free_port, port_is_free
from tests.docs.blocks import ROOT, Block, blocks, pages
from tests.waiting import wait_for

# Run elsewhere: `make test` is what runs this very test, and `.ci/run` has a stage for `make demo`.
ELSEWHERE = {"make test", "make demo"}
# The pages say 9092 and the repository's address; here it is a free port and this checkout.
PORT, REPOSITORY = "9092", "git+https://…/nextclick.git"
# What a command that stays says when it is up.
READY = {"nextclick broker": "listens on", "nextclick worker": "ready"}


class Terminal:
    """Runs commands in one folder as a reader with `.venv/bin` on the path would; ends what it started."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self.port = free_port()
        self._running: list[subprocess.Popen[bytes]] = []
        self._environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}",
            "NEXTCLICK_MONITORING__PORT": "0",
        }

    def run(self, block: Block) -> str:
        """Run a block and return what it printed."""
        if block.language == "python":
            return self._call([sys.executable, "-c", self._here(block.text)])
        return "".join(self._command(command) for command in block.commands())

    def _command(self, command: str) -> str:
        plain = command.split("  #")[0].rstrip()
        if plain in ELSEWHERE:
            return ""
        if plain.endswith("&"):
            self._start(plain.removesuffix("&").strip())
            return ""
        return self._call(["bash", "-o", "pipefail", "-c", self._here(command)])

    def _here(self, text: str) -> str:
        text = text.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{self.port}")
        text = text.replace(REPOSITORY, f"git+file://{ROOT}")
        return text.replace("nextclick broker", f"nextclick broker --kind {self.kind} --port {self.port}")

    def _call(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, command: str) -> None:
        log = self.folder / f"{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(command)}"],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        [word] = [word for name, word in READY.items() if name in command]

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            return word in log.read_text()

        wait_for(up, 60)

    def close(self) -> None:
        """End what was started, the last first."""
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert port_is_free(self.port)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    """Make a terminal whose `nextclick broker` is of that kind."""
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> Terminal:
            return stack.enter_context(contextlib.closing(Terminal(tmp_path, kind)))

        yield make


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in {"sh", "python"}]


@pytest.mark.end_to_end
@pytest.mark.parametrize("page", [p for p in pages() if p.name != "README.md" and runnable(p)], ids=lambda p: p.name)
def test_the_commands_of_a_page_run_in_order(page: Path, terminal: Callable[[str], Terminal]) -> None:
    reader = terminal("embedded")
    for block in runnable(page):
        reader.run(block)


@pytest.mark.end_to_end
@pytest.mark.parametrize("kind", ["embedded", "kafka"])
def test_the_readme_from_top_to_bottom(
    kind: str, terminal: Callable[[str], Terminal], request: pytest.FixtureRequest
) -> None:
    """As its reader: broker, topics, model, worker, kafka-python script, kcat."""
    if kind == "kafka" and request.getfixturevalue("apache_kafka") is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    with_kcat = kind == "kafka" and shutil.which("kcat") is not None
    reader, printed = terminal(kind), {}
    for block in runnable(ROOT / "README.md"):
        if "kcat" in block.text and not with_kcat:
            continue  # the embedded broker is not for kcat, and test_kcat_is_there says when it is missing
        if "worker-env" in block.text and kind == "kafka":
            continue  # once is enough
        printed[block.text] = reader.run(block)
    script = next(out for text, out in printed.items() if "KafkaProducer" in text)
    answered = [line.split(" -> ") for line in script.splitlines()]
    assert [event for event, _ in answered] == ["readme-0", "readme-1", "readme-2"]
    assert all(items.count("'i") == 5 for _, items in answered)
    if with_kcat:
        lines = next(out for text, out in printed.items() if "kcat" in text).splitlines()
        assert any(line.startswith("visitor-2 ") and '"trigger_event_id":"kcat-1"' in line for line in lines)


def test_kcat_is_there_for_the_readme() -> None:
    if shutil.which("kcat") is None:
        assert not os.environ.get("CI"), "CI must try the README's kcat lines: `.ci/run` installs kcat"
        pytest.skip("kcat is not installed (Debian: apt install kcat), so the README's kcat lines were not run")


def test_every_block_of_every_page_has_a_language_and_only_known_ones_are_not_run() -> None:
    shown_only = {"mermaid", "text", "json", "yaml", "toml"}
    for page in pages():
        for block in blocks(page):
            assert block.language in {"sh", "python"} | shown_only, f"{page.name}: {block.text}"
