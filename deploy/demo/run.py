"""The demo from beginning to end: broker, topics, training, bundle, worker, replay, figures."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pydantic import SecretStr
from rich.console import Console

from deploy.demo.play import play
from deploy.demo.prepare import DemoData, read_data, rivals
from deploy.demo.report import Report, make_report, sentences
from deploy.demo.scoreboard import Scoreboard
from deploy.demo.topics_reader import dump, read_values
from deploy.demo.worker import WorkerProcess
from deploy.local.process import Guard
from deploy.local.start import local_broker
from serving.bundle import Bundle, load_bundle
from serving.errors import NextclickError, WrongUse
from serving.output import check_writable, write_json
from stream.contract.topics import create_topics, delete_topics
from stream.settings import Settings, known_settings, load_settings
from training.data.protocol import parse_protocol
from training.data.readers import ReadOptions
from training.progress import shown_progress
from training.recipes import Recipe, find_recipe
from training.train import train_bundle

# A session gap for logs that nothing cuts (whole histories of users, logs without times): longer than any of them.
NO_GAP_S = 100 * 365 * 86_400.0
# Short, for the embedded broker (`stream.transport.consumer`).
FETCH_WAIT_MS = 10
TOPICS = ("clicks", "recommendations", "dead_letters", "catalogue", "rules", "bundles", "erasures")


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What the command line says."""

    data: Path | None
    time_unit: str
    max_bad_share: float
    recipe: str
    training_seconds: float
    rate: float
    events: int
    seed: int
    broker: str
    bootstrap_servers: str | None
    report: Path | None
    keep: Path | None
    config: Path | None


def run_demo(options: DemoOptions, console: Console) -> Report:
    """Run the demo; it leaves nothing behind but the report and what `keep` names.

    Raises:
        NextclickError: a part failed, or a click stayed without its list.

    """
    began = time.monotonic()
    _check_outputs(options)
    recipe = find_recipe(options.recipe)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder_of_its_own())
        data = _read(options, recipe, console)
        broker, settings = _broker(options, data, stack, console)
        bundle = _train(options, recipe, data, folder, console)
        scoreboard = _serve(options, data, settings, bundle, console)
        report = make_report(
            scoreboard.standing(),
            expected=len(data.replay.log),
            dead_letters=len(read_values(settings.kafka, settings.topics.dead_letters)),
            seconds=time.monotonic() - began,
            broker=broker,
            bundle=bundle.id,
        )
        if options.keep is not None:
            _keep(options.keep, bundle, settings, report)
    return _finish(options, report, console)


def _check_outputs(options: DemoOptions) -> None:
    """Find out now, not after two minutes, that something cannot be written."""
    if options.report is not None:
        check_writable(options.report)
    if options.keep is not None:
        try:
            options.keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongUse(f"--keep {options.keep} cannot be a folder ({error.strerror}); name another one") from error
        if any(options.keep.iterdir()):
            raise WrongUse(f"--keep {options.keep} is not empty; name a folder that is empty or not there yet")


@contextlib.contextmanager
def _folder_of_its_own() -> Iterator[Path]:
    """Give a folder that is gone at the end, even of a killed demo; libraries (torch) put their files there too."""
    with contextlib.closing(Guard("demo")) as guard:
        before, tempfile.tempdir = tempfile.tempdir, str(guard.folder)
        try:
            yield guard.folder
        finally:
            tempfile.tempdir = before


def _read(options: DemoOptions, recipe: Recipe, console: Console) -> DemoData:
    console.print("[bold cyan]1[/] Reading clicks" if options.data else "[bold cyan]1[/] Generating a shop")
    data = read_data(
        options.data,
        parse_protocol(recipe.protocol),
        recipe.preparation,
        ReadOptions(time_unit=options.time_unit, max_bad_share=options.max_bad_share),
        events=options.events,
        seed=options.seed,
    )
    learn, replayed = data.training.clicks, data.replay.log
    console.print(
        f"  {learn.name}: {len(learn):,} clicks in {learn.sessions:,} sessions to learn from, "
        f"the {len(replayed):,} after them to replay"
    )
    return data


def _broker(
    options: DemoOptions, data: DemoData, stack: contextlib.ExitStack, console: Console
) -> tuple[str, Settings]:
    """Start a broker, or take the one that is named, and make the topics."""
    console.print("[bold cyan]2[/] A Kafka broker, and the topics")
    overrides: dict[str, object] = {"serving.session_gap_s": data.session_gap_s or NO_GAP_S}
    if options.bootstrap_servers is None:
        running = stack.enter_context(local_broker(options.broker))
        name, servers = running.name, running.bootstrap_servers
        overrides["kafka.fetch_max_wait_ms"] = FETCH_WAIT_MS
    else:
        name, servers = "Kafka", options.bootstrap_servers
        # On somebody's broker the demo has topics of its own, and takes them away again.
        prefix = f"nextclick-demo-{time.time_ns():x}"
        overrides["worker.app_id"] = prefix
        overrides |= {f"topics.{topic}": f"{prefix}-{topic.replace('_', '-')}" for topic in TOPICS}
    settings = load_settings(options.config, overrides | {"kafka.bootstrap_servers": servers})
    if options.bootstrap_servers is not None:
        stack.callback(delete_topics, settings)
    create_topics(settings)
    console.print(f"  {name} on {servers}")
    return f"{name} on {servers}", settings


def _train(options: DemoOptions, recipe: Recipe, data: DemoData, folder: Path, console: Console) -> Bundle:
    console.print(f"[bold cyan]3[/] Training recipe {recipe.name}")
    with shown_progress(console, recipe.loop.monitor) as report:
        train_bundle(
            recipe,
            data.training,
            seed=options.seed,
            out=folder / "bundle",
            max_seconds=None if recipe.model is None else options.training_seconds,
            report=report,
        )
    bundle = load_bundle(folder / "bundle")
    console.print(f"  bundle {bundle.id}, verified: {len(bundle.catalogue):,} items")
    return bundle


def _serve(options: DemoOptions, data: DemoData, settings: Settings, bundle: Bundle, console: Console) -> Scoreboard:
    clicks = list(data.replay.log.clicks())
    scoreboard = Scoreboard(clicks, rivals(data, settings.serving.exclude))
    console.print("[bold cyan]4[/] A worker, in a process of its own")
    with WorkerProcess(bundle.directory, changed_settings(settings)) as worker:
        console.print(f"  ready; Prometheus finds it on {worker.metrics_url}")
        console.print(f"[bold cyan]5[/] Replaying {len(clicks):,} clicks at {options.rate:g}/s")
        play(
            clicks,
            settings=settings,
            rate=options.rate,
            scoreboard=scoreboard,
            worker=worker,
            title_of=bundle.catalogue.title,
            console=console,
        )
    return scoreboard


def changed_settings(settings: Settings) -> dict[str, object]:
    """Return the settings that are not the defaults, by dotted key, for the worker's configuration file."""
    defaults = Settings()
    changed: dict[str, object] = {}
    for key in known_settings():
        group, _, name = key.partition(".")
        value, default = (getattr(getattr(source, group), name) for source in (settings, defaults))
        if value != default:
            changed[key] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return changed


def _keep(folder: Path, bundle: Bundle, settings: Settings, report: Report) -> None:
    shutil.copytree(bundle.directory, folder / "bundle")
    dump(settings.kafka, settings.topics.clicks, folder / "clicks.jsonl")
    dump(settings.kafka, settings.topics.recommendations, folder / "recommendations.jsonl")
    write_json(msgspec.to_builtins(report), folder / "report.json")


def _finish(options: DemoOptions, report: Report, console: Console) -> Report:
    if options.report is not None:
        write_json(msgspec.to_builtins(report), options.report)
    console.print()
    for sentence in sentences(report):
        console.print(sentence, highlight=False)
    if report.missing:
        raise NextclickError(
            f"{report.missing} of {report.recommendations_expected} clicks have no list; "
            "`--keep DIR` leaves both topics for a look"
        )
    return report
