"""Ctrl-C at a terminal, in every phase of the demo, leaves no process, port or folder behind."""

import io
import re
import sys
from pathlib import Path

import pexpect
import pytest

from deploy.local.process import port_is_free
from tests.end_to_end.test_demo import processes_in
from tests.waiting import wait_for

# What the demo prints when a phase begins.
PHASES = {
    "reading": "Generating a shop",
    "broker": "A Kafka broker",
    "training": "Training recipe",
    "worker": "A worker, in a process",
    "replay": "clicks sent",
}


@pytest.mark.end_to_end
@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_leaves_nothing_behind(phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "deploy", "demo", "--training-seconds", "5", "--rate", "50"],
        timeout=120,
        dimensions=(50, 160),
        encoding="utf-8",
    )
    terminal.logfile_read = printed = io.StringIO()
    terminal.expect_exact(PHASES[phase])
    terminal.sendintr()
    terminal.expect(pexpect.EOF, timeout=30)
    terminal.close()
    assert terminal.exitstatus == 130, printed.getvalue()
    assert "Traceback" not in printed.getvalue()
    wait_for(lambda: processes_in(tmp_path) == [] and list(tmp_path.iterdir()) == [])
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", printed.getvalue())}
    assert all(port_is_free(port) for port in ports)
