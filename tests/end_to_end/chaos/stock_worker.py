"""The same service as a plain Faust program, as Faust's user guide would have one write it, to compare with.

    python -m tests.end_to_end.chaos.stock_worker --bundle bundles/shop --metrics-port 0

Its own transport, an agent that takes event after event, a table, `topic.send`; at-least-once as Faust comes. Lists,
states and dead letters are those of the worker, made by the same functions; so is how it is configured.
"""

import argparse
from pathlib import Path

import faust

from serving.bundle import load_bundle
from serving.control import Control
from serving.errors import InvalidEvent
from serving.events import encode_recommendation
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import decode_state, encode_state
from stream.contract.codecs import decode_record
from stream.contract.dead_letter import Cause, dead_letter_headers
from stream.contract.specs import SESSION_TABLE
from stream.settings import Settings, load_settings


def create_app(settings: Settings, recommender: Recommender) -> faust.App:
    """Return the program."""
    worker, topics = settings.worker, settings.topics
    app = faust.App(
        worker.app_id,
        broker=f"kafka://{settings.kafka.bootstrap_servers}",
        store="memory://",
        web_enabled=False,
        worker_redirect_stdouts=False,
        topic_disable_leader=True,
        topic_partitions=topics.partitions,
        key_serializer="raw",
        value_serializer="raw",
        broker_session_timeout=worker.session_timeout_s,
        broker_heartbeat_interval=worker.heartbeat_interval_s,
        broker_commit_interval=worker.commit_interval_s,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    clicks = app.topic(topics.clicks, allow_empty=True, **raw)
    recommendations = app.topic(topics.recommendations, **raw)
    dead_letters = app.topic(topics.dead_letters, allow_empty=True, **raw)
    sessions = app.Table(SESSION_TABLE, key_type=bytes, value_type=bytes, partitions=topics.partitions)

    @app.agent(clicks)  # type: ignore[untyped-decorator]
    async def recommend(stream: faust.Stream) -> None:
        async for event in stream.events():
            message = event.message
            headers = tuple(message.headers or ())
            try:
                click = decode_record(message.key, message.value, headers)
            except InvalidEvent as error:
                cause = Cause(error.reason, error.message, topics.clicks, message.partition, message.offset)
                written = dead_letter_headers(headers, cause)
                await dead_letters.send(key=message.key, value=message.value, headers=written)
                continue
            stored = sessions.get(message.key)
            states = {} if stored is None else {click.session_id: decode_state(stored)}
            sourced = Sourced(click, message.offset, round(message.timestamp * 1000))
            result = process(states, [sourced], recommender, Control())
            # In nextclick's order: the other one would lose lists by itself, in front of any transport.
            for served in result.lists:
                await recommendations.send(key=message.key, value=encode_recommendation(served.recommendation))
            for session_id, state in result.states.items():
                sessions[session_id.encode()] = encode_state(state)

    @app.task  # type: ignore[untyped-decorator]
    async def announce() -> None:
        print("nextclick worker ready: a plain Faust program", flush=True)

    return app


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--metrics-port", help="taken like the worker's, and not used")
    settings = load_settings()
    recommender = Recommender(load_bundle(parser.parse_args().bundle), settings.serving)
    faust.Worker(create_app(settings, recommender), loglevel="info").execute_from_commandline()


if __name__ == "__main__":
    main()
