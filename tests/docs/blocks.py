"""The command blocks of a page, as a reader would type them."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str

    def commands(self) -> list[str]:
        """The block's shell commands, continued lines joined with their first."""
        commands: list[str] = []
        pending = ""
        for line in self.text.splitlines():
            pending = f"{pending}\n{line}".strip("\n")
            if pending.strip() and _complete(pending):
                commands.append(pending)
                pending = ""
        assert not pending.strip(), f"not a whole command: {pending}"
        return commands


def _complete(text: str) -> bool:
    """Whether the shell would run this, or wait for more."""
    if text.rstrip().endswith(("|", "\\")):
        return False
    return subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False).returncode == 0


def blocks(page: Path) -> list[Block]:
    """Return the page's fenced blocks in order."""
    return [
        Block(language, text) for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    ]


def pages() -> list[Path]:
    """Return the pages whose commands are tested: the README and everything in docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
