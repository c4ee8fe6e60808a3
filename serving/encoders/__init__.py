"""Encoders at run time: an exported network turns the events of a session into its session vector."""

from serving.encoders.events import Event, EventTables, RowsOf
from serving.encoders.reading import Reading
from serving.encoders.recurrent import RecurrentEncoder
from serving.encoders.window import TimeOf, Window, WindowEncoder

Encoder = RecurrentEncoder | WindowEncoder

__all__ = [
    "Encoder",
    "Event",
    "EventTables",
    "Reading",
    "RecurrentEncoder",
    "RowsOf",
    "TimeOf",
    "Window",
    "WindowEncoder",
]
