"""What the demo shows in a terminal while clicks flow."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.scoreboard import K, Standing
from deploy.demo.spotlight import SHOWN_ITEMS, Followed

NAMES = {"nextclick": "these lists", "popular": "most popular", "sr": "sequential rules"}


@dataclass(frozen=True)
class Rates:
    """Events a second over the last second."""

    clicks: float
    lists: float


def render(
    standing: Standing, rates: Rates, total: int, followed: Followed | None, title_of: Callable[[str], str]
) -> RenderableType:
    """Return the screen for one moment."""
    return Group(_figures(standing, rates, total), _session(followed, title_of))


def _figures(standing: Standing, rates: Rates, total: int) -> RenderableType:
    flow = Table.grid(padding=(0, 2))
    flow.add_row("clicks sent", f"{standing.sent:,} of {total:,}", f"{rates.clicks:,.0f}/s")
    flow.add_row("lists received", f"{standing.distinct:,}", f"{rates.lists:,.0f}/s")
    latency = "  ".join(f"{name} {value:.1f} ms" for name, value in standing.latency_ms.items() if value is not None)
    flow.add_row("click to list", latency or "...", "")
    quality = Table.grid(padding=(0, 2))
    for name, rate in standing.hit_rates.items():
        quality.add_row(NAMES.get(name, name), _bar(rate), f"{rate:6.1%}")
    side_by_side = Table.grid(padding=(0, 4))
    side_by_side.add_row(
        Panel(flow, title="flow", border_style="cyan"),
        Panel(quality, title=f"next click was in the {K} shown", border_style="green"),
    )
    return side_by_side


def _bar(share: float, width: int = 20) -> Text:
    filled = round(share * width)
    return Text("█" * filled, style="green") + Text("░" * (width - filled), style="dim")


def _session(followed: Followed | None, title_of: Callable[[str], str]) -> RenderableType:
    if followed is None:
        return Panel(
            Text("waiting for the first session ...", style="dim"), title="one visitor", border_style="magenta"
        )
    clicks = Text()
    for item_id, hit in zip(followed.clicked, followed.hits, strict=True):
        clicks.append("  ● " if hit else "  ○ ", style="green" if hit else "dim")
        clicks.append(title_of(item_id) + "\n")
    items = Text()
    for place, item_id in enumerate(followed.listed[:SHOWN_ITEMS], start=1):
        style = "bold yellow" if item_id in followed.new else ""
        items.append(f"{place:3}  {title_of(item_id)}\n", style=style)
    table = Table(box=None, expand=True, padding=(0, 1))
    table.add_column("clicked (● was in the list)", ratio=1)
    table.add_column(f"the list now, {followed.milliseconds:.1f} ms later (bold: new in it)", ratio=1)
    table.add_row(clicks, items)
    return Panel(table, title=f"one visitor: session {followed.session_id}", border_style="magenta")
