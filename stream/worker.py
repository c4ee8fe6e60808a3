"""A worker process, from its settings to its exit code."""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import faust

from serving.bundle import load_bundle
from serving.errors import WrongUse
from serving.recommender import Recommender
from stream.app import Application, create_app
from stream.control import ControlReader
from stream.health import Health, HealthServer
from stream.metrics import Metrics
from stream.observer import INTERVAL_S, Observer
from stream.preflight import find_source
from stream.settings import Settings
from stream.transport.broker import Broker
from stream.transport.offsets import committed_offset, owned_partitions, read_offset, read_position
from stream.watchdog import Guard, Place, Progress, Watchdog

# What must be there before the worker is ready, in the order in which it comes.
PARTS = ("bundle", "topics", "control", "tables")
# How long a worker that has failed may take to leave its group; the others then need not wait for its session to end.
LEAVE_S = 5.0
# A loop that has not turned for less than this may just be late: it says only so often that it turns.
TURN_S = 4 * INTERVAL_S
LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


def run_worker(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; return after a clean stop.

    Raises:
        NextclickError: what keeps the worker from serving, or what ended it.

    """
    if settings.worker.bundle is None:
        raise WrongUse("a worker needs a bundle to serve from: give --bundle DIR, or set worker.bundle")
    LOG.info("settings %s", settings.model_dump_json())  # secrets are masked
    metrics, health = Metrics(), Health(PARTS)
    server = HealthServer(settings.monitoring.host, settings.monitoring.port, health, metrics.registry)
    observer = Observer(health, metrics, server.url)
    with (
        contextlib.closing(server),
        ThreadPoolExecutor(1, "serving") as executor,
        asyncio.Runner(loop_factory=_fast_loop()) as runner,
    ):
        runner.run(_Worker(settings, metrics, health, observer, executor).run())


class _Worker:
    def __init__(
        self, settings: Settings, metrics: Metrics, health: Health, observer: Observer, executor: Executor
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._observer = observer
        self._executor = executor
        self._asked_to_stop = asyncio.Event()

    async def run(self) -> None:
        signals = signal.SIGTERM, signal.SIGINT
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        with self._guard(signals):
            await self._run()

    async def _run(self) -> None:
        async with _background(self._observer.run()):
            recommender = await self._unless_stopped(self._load)
            self._health.set("bundle", True)
            source = await self._unless_stopped(lambda: find_source(self._settings))
            self._health.set("topics", True)
            broker = Broker(self._settings.kafka, source.topic, source.partitions, source.topic_id)
            controls = ControlReader(self._settings)
            application = create_app(
                self._settings,
                recommender,
                source=source,
                executor=self._executor,
                metrics=self._metrics,
                control=lambda: controls.control,
                check_source=broker.check_topic,
            )
            await self._unless_stopped(application.computer.warm_up)
            _rest_collector()
            self._observer.application = application
            async with (
                _background(_or_fail(controls.run(), application)),
                _background(_or_fail(self._watch(application, broker), application)),
            ):
                await self._serve(application, controls)

    @contextlib.contextmanager
    def _guard(self, signals: Iterable[signal.Signals]) -> Iterator[None]:
        """End the process when its loop hangs, unless the operator does not want that."""
        worker = self._settings.worker
        if not worker.stall_timeout_s:
            yield
            return
        limits_s = max(worker.stall_timeout_s, TURN_S), max(worker.shutdown_timeout_s, TURN_S)
        with Guard(lambda: self._health.beats, _exit_hung, *limits_s) as guard:
            guard.listen(signals)
            yield

    def _on_signal(self, number: int) -> None:
        LOG.info("stopping signal=%s", signal.Signals(number).name)
        if self._asked_to_stop.is_set():
            _exit("asked to stop twice", code=1)
        self._asked_to_stop.set()
        _exit_after(self._settings.worker.shutdown_timeout_s, "worker.shutdown_timeout_s is over")

    def _load(self) -> Recommender:
        assert self._settings.worker.bundle is not None
        bundle = load_bundle(self._settings.worker.bundle)
        recipe = str(bundle.manifest.recipe.get("name", ""))
        self._metrics.bundle.labels(bundle.id, bundle.manifest.model, recipe).set(1)
        LOG.info("bundle loaded bundle=%s items=%d directory=%s", bundle.id, len(bundle.catalogue), bundle.directory)
        return Recommender(bundle, self._settings.serving)

    async def _unless_stopped(self, call: Callable[[], Result]) -> Result:
        """Run a call that blocks, in the serving thread. A signal ends the process: there is nothing to lose yet."""
        calling = asyncio.get_running_loop().run_in_executor(self._executor, call)
        async with _background(self._asked_to_stop.wait()) as stopping:
            await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            _exit("stopped before it served", code=0)
        return await calling

    async def _serve(self, application: Application, controls: ControlReader) -> None:
        """Run Faust until a signal, a failure of ours, or one of its own; then stop it."""
        app, failure = application.faust, application.failure
        async with (
            _background(self._asked_to_stop.wait()) as stopping,
            _background(failure.happened.wait()) as failing,
            _background(_or_fail(self._run_faust(app, controls), application)) as running,
        ):
            await asyncio.wait({running, stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
            if failure.error is not None:
                LOG.error("worker fails error=%r", failure.error)
                _exit_after(LEAVE_S, "leaving the group took too long")
                application.pipeline.abandon(failure.error)
            # The batch in hand ends, offsets are committed, the group is left. It cannot be cancelled; a timer ends it.
            await app.stop()
        if failure.error is not None:
            raise failure.error
        LOG.info("stopped")

    async def _watch(self, application: Application, broker: Broker) -> None:
        """Run the watchdog, unless the operator does not want one."""
        if not self._settings.worker.stall_timeout_s:
            return
        topic, app = application.table.source.topic, application.faust

        def progress() -> Progress:
            if not application.recovered:
                return None
            return {
                partition: Place(
                    read_position(app, topic, partition),
                    read_offset(app, topic, partition),
                    committed_offset(app, topic, partition),
                )
                for partition in owned_partitions(app, topic)
            }

        await Watchdog(broker, progress, self._settings.worker.stall_timeout_s).run()

    async def _run_faust(self, app: faust.App, controls: ControlReader) -> None:
        """Start the application, which takes until its table is recovered, and return when it has stopped."""
        await controls.read.wait()
        self._health.set("control", True)
        await app.start()
        await app.wait()
        if app.crash_reason is not None:
            raise app.crash_reason


def _rest_collector() -> None:
    """Let the garbage collector leave alone what is there now, and look at the rest less often.

    A batch makes thousands of objects and frees them all; counting them, the collector would run twenty times a batch,
    and through a bundle of a million items each time that it goes through everything. Measured: a third of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which takes a third of the time of asyncio's for a turn; None where uvloop is not made for."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]


async def _or_fail(work: Coroutine[Any, Any, None], application: Application) -> None:
    try:
        await work
    except Exception as error:
        application.failure.set(error)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, Any]) -> AsyncIterator["asyncio.Task[Any]"]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


def _exit_after(seconds: float, reason: str) -> None:
    """End the process when it has not ended by then: stopping Faust can hang, and cannot be cancelled."""
    timer = threading.Timer(seconds, _exit, [reason, 1])
    timer.daemon = True
    timer.start()


def _exit(reason: str, code: int) -> NoReturn:
    LOG.log(logging.ERROR if code else logging.INFO, "process ends at once reason=%r", reason)
    logging.shutdown()
    os._exit(code)


def _exit_hung(reason: str) -> NoReturn:
    """End the process from beside its loop, and say where it hangs: that may be where a log line would wait too."""

    def tell() -> None:
        faulthandler.dump_traceback()
        _exit(reason, code=1)

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(LEAVE_S)
    os._exit(1)
