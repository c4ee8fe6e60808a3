"""Encoders at run time: an exported network turns the items of a session into its session vector."""

from serving.encoders.recurrent import Reading, RecurrentEncoder, RowsOf

__all__ = ["Reading", "RecurrentEncoder", "RowsOf"]
