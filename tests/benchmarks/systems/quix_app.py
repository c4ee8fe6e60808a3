"""Quix Streams with state in RocksDB and its changelog; values stay bytes, which spares it its own JSON.

It writes the states that changed to the changelog at a checkpoint: every five seconds by default, or after so many
events as the last argument says, where that is not 0.
"""

import sys
import tempfile

from quixstreams import Application, State

from tests.benchmarks.systems.arguments import read_arguments


def main() -> None:
    """Serve until killed."""
    servers, clicks_name, output_name, _, group, work = read_arguments()
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        commit_every=int(sys.argv[7]),
        producer_extra_config={"compression.type": "lz4"},
        loglevel="WARNING",
    )
    clicks = app.topic(clicks_name, value_deserializer="bytes", key_deserializer="bytes")
    output = app.topic(output_name, value_serializer="bytes", key_serializer="bytes")

    def serve(value: bytes, state: State) -> bytes:
        new_state, answer = work.handle(value, state.get_bytes("state"))
        state.set_bytes("state", new_state)
        return answer

    app.dataframe(clicks).apply(serve, stateful=True).to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
