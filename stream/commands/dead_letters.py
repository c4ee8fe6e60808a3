"""The command `nextclick dead-letters`: see what could not be used, and put it back."""

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.options import JsonFile
from stream.commands.options import Servers, settings_of

if TYPE_CHECKING:
    from stream.dead_letters import Letter

SHOWN_BYTES = 60

Reason = Annotated[str | None, typer.Option(metavar="REASON", help="Only those with this reason, such as not_json.")]
Place = Annotated[
    str | None, typer.Option("--offset", metavar="P:O", help="Only the one at offset O of dead-letter partition P.")
]


def register(app: typer.Typer) -> None:
    """Add `dead-letters show` and `dead-letters requeue` to `nextclick`."""
    letters = typer.Typer(no_args_is_help=True, help="Show events that could not be used, and put them back.")
    letters.command()(show)
    letters.command()(requeue)
    app.add_typer(letters, name="dead-letters")


def show(
    context: typer.Context,
    bootstrap_servers: Servers = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="The newest N; 0 shows all.")] = 20,
    reason: Reason = None,
    place: Place = None,
    json: JsonFile = None,
) -> None:
    """Show dead letters: where each is and was, why it is one, and how it begins.

    docs/events.md explains the reasons. In JSON, what is not UTF-8 is in base64, in a field that says so.

    Examples:
        nextclick dead-letters show --limit 5
        nextclick dead-letters show --reason wrong_key --json letters.json

    """
    from collections import Counter, deque

    from serving.output import write_json
    from stream.dead_letters import read_letters, wanted_letters

    settings, wanted = settings_of(context, bootstrap_servers), wanted_letters(reason, place)
    newest: deque[Letter] = deque(maxlen=limit or None)
    reasons: Counter[str] = Counter()
    for letter in read_letters(settings, wanted):
        newest.append(letter)
        reasons[_reason(letter)] += 1
    letters = sorted(newest, key=lambda letter: (letter.timestamp_ms, letter.partition, letter.offset))
    if json is not None:
        write_json([_as_json(letter) for letter in letters], json)
        return
    for letter in letters:
        typer.echo(_as_text(letter))
    found = ", ".join(f"{count} {name}" for name, count in reasons.most_common())
    typer.echo(f"{reasons.total()} in {settings.topics.dead_letters}" + (f": {found}" if found else ""))


def requeue(
    context: typer.Context,
    bootstrap_servers: Servers = None,
    reason: Reason = None,
    place: Place = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be sent.")] = False,
) -> None:
    """Send dead letters back to the clicks topic: key, value and headers as they were received.

    Letters stay in the dead-letter topic. An event that is sent twice does no harm; one that still can't be used
    becomes a dead letter again.

    Examples:
        nextclick dead-letters requeue --reason processing_failed --dry-run
        nextclick dead-letters requeue --offset 2:17

    """
    from serving.errors import WrongUse
    from stream.dead_letters import requeue as send_back
    from stream.dead_letters import wanted_letters

    if everything == (reason is not None or place is not None):
        raise WrongUse("say which dead letters to put back: --reason REASON, --offset P:O or both, or else --all")
    settings = settings_of(context, bootstrap_servers)
    result = send_back(settings, wanted_letters(reason, place), dry_run=dry_run)
    verb = "would be sent" if dry_run else "sent and acknowledged"
    typer.echo(f"{result.sent} {verb} to {settings.topics.clicks}")
    for why, count in result.not_sent.items():
        typer.echo(f"{count} not sent: {why}")


def _reason(letter: "Letter") -> str:
    return letter.cause.reason if letter.cause else "without a reason"


def _as_text(letter: "Letter") -> str:
    cause = letter.cause
    source = f"{cause.topic} {cause.partition}:{cause.offset}" if cause else "unknown source"
    begins = "no value" if letter.value is None else f"{len(letter.value)} bytes {letter.value[:SHOWN_BYTES]!r}"
    error = f"\n    {cause.error}" if cause else ""
    return f"{letter.partition}:{letter.offset}  {_reason(letter)}  from {source}  key {letter.key!r}  {begins}{error}"


def _as_json(letter: "Letter") -> dict[str, Any]:
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms,
        "cause": letter.cause._asdict() if letter.cause else None,
        **_encoded("key", letter.key),
        **_encoded("value", letter.value),
        "headers": [{"name": name, **_encoded("value", value)} for name, value in letter.headers],
    }


def _encoded(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}
