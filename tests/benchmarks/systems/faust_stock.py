"""Stock Faust as its guide shows it: an agent, a table in memory with its changelog, one event at a time."""

import tempfile

import faust

from tests.benchmarks.systems.arguments import read_arguments


def main() -> None:
    """Serve until killed."""
    servers, clicks_name, output_name, _, group, work = read_arguments()
    app = faust.App(
        group,
        broker=f"kafka://{servers}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="faust-"),
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=4,
        key_serializer="raw",
        value_serializer="raw",
        producer_compression_type="lz4",
        consumer_auto_offset_reset="earliest",
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    clicks, output = app.topic(clicks_name, **raw), app.topic(output_name, **raw)
    states = app.Table("states", key_type=bytes, value_type=bytes, partitions=4)

    @app.agent(clicks)  # type: ignore[untyped-decorator]
    async def serve(stream: faust.Stream) -> None:
        async for key, value in stream.items():
            states[key], answer = work.handle(value, states.get(key))
            await output.send(key=key, value=answer)

    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
