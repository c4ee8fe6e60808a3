"""The live part of the demo: clicks out at a steady rate, lists back, both on the screen."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread

from rich.console import Console
from rich.live import Live

from deploy.demo.scoreboard import Scoreboard, Standing
from deploy.demo.screen import Rates, render
from deploy.demo.spotlight import Spotlight
from deploy.demo.topics_reader import ListReader
from deploy.demo.worker import WorkerProcess
from deploy.replay import replay_clicks
from serving.events import Click, Recommendation
from stream.settings import Settings

REFRESH_S = 0.25
# Without a new list for so long, the rest is not coming.
SILENCE_S = 30.0

Show = Callable[[Standing], None]


class Sender:
    """Replays the clicks in a thread of its own; a context manager."""

    def __init__(self, clicks: Sequence[Click], settings: Settings, rate: float, sent: Callable[[Click], None]) -> None:
        self._stop = Event()
        self._thread = Thread(target=self._run, args=(clicks, settings, rate, sent), name="sender", daemon=True)
        self.finished = Event()
        self.error: Exception | None = None

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, clicks: Sequence[Click], settings: Settings, rate: float, sent: Callable[[Click], None]) -> None:
        try:
            replay_clicks(clicks, settings.kafka, settings.topics.clicks, rate=rate, on_sent=sent, stop=self._stop)
        except Exception as error:  # handed to the main thread, which raises it
            self.error = error
        finally:
            self.finished.set()


def play(
    clicks: Sequence[Click],
    *,
    settings: Settings,
    rate: float,
    scoreboard: Scoreboard,
    worker: WorkerProcess,
    title_of: Callable[[str], str],
    console: Console,
) -> None:
    """Replay the clicks and return when each has its list, or when no more lists come.

    Raises:
        NextclickError: the worker or a Kafka client failed.

    """
    spotlight = Spotlight(clicks)
    sent_at: dict[str, float] = {}

    def on_sent(click: Click) -> None:
        sent_at[click.event_id] = time.monotonic()
        scoreboard.sent(click, sent_at[click.event_id])

    def on_list(recommendation: Recommendation) -> None:
        now = time.monotonic()
        scoreboard.received(recommendation, now)
        spotlight.received(recommendation, (now - sent_at.get(recommendation.trigger_event_id, now)) * 1000)

    with (
        _screen(console, len(clicks), spotlight, title_of) as show,
        ListReader(settings.kafka, settings.topics.recommendations, on_list) as reader,
        Sender(clicks, settings, rate, on_sent) as sender,
    ):
        answered, since = 0, time.monotonic()
        while True:
            standing = scoreboard.standing()
            show(standing)
            _raise_first(sender.error, reader.error)
            worker.check()
            now = time.monotonic()
            if standing.answered != answered or not sender.finished.is_set():
                answered, since = standing.answered, now
            if sender.finished.is_set() and (answered == len(clicks) or now - since > SILENCE_S):
                return
            time.sleep(REFRESH_S)


def _raise_first(*errors: Exception | None) -> None:
    for error in errors:
        if error is not None:
            raise error


@contextlib.contextmanager
def _screen(console: Console, total: int, spotlight: Spotlight, title_of: Callable[[str], str]) -> Iterator[Show]:
    """Give a function that shows a standing: as a live screen on a terminal, else not at all."""
    if not console.is_terminal:
        yield lambda standing: None
        return
    with Live(console=console, auto_refresh=False) as live:
        before: tuple[float, int, int] | None = None

        def show(standing: Standing) -> None:
            nonlocal before
            now = time.monotonic()
            rates = Rates(0.0, 0.0)
            if before is not None:
                seconds = max(now - before[0], 1e-6)
                rates = Rates((standing.sent - before[1]) / seconds, (standing.answered - before[2]) / seconds)
            if before is None or now - before[0] >= 1.0:
                before = (now, standing.sent, standing.answered)
            live.update(render(standing, rates, total, spotlight.now, title_of), refresh=True)

        yield show
