"""What `stream.transport.connection` changes in aiokafka, on real sockets."""

import asyncio

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from stream.transport import connection

uvloop = pytest.importorskip("uvloop")


async def send_after_the_peer_has_gone() -> None:
    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: peers.append(writer), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    broker = AIOKafkaConnection(host, port, request_timeout_ms=10_000)
    broker._do_version_lookup = _nothing
    await broker.connect()
    broker._writer.transport.abort()
    await asyncio.sleep(0)  # the transport is told now, the task that reads from it a turn later
    try:
        await broker.send(ApiVersionRequest())
    finally:
        broker.close()
        for peer in peers:
            peer.transport.abort()
        server.close()


async def _nothing() -> None:
    """Ask for no versions."""


def test_a_connection_that_is_closed_already_is_a_connection_error() -> None:
    with pytest.raises(KafkaConnectionError):
        uvloop.run(send_after_the_peer_has_gone())


def test_aiokafka_alone_raises_something_else_with_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", connection._send)
    with pytest.raises(RuntimeError):
        uvloop.run(send_after_the_peer_has_gone())
