"""From the clicks topic to Parquet that recipes read: what the stream has seen, in its order."""

from deploy.export.ranges import Bound, parse_bound
from deploy.export.run import Exported, export_clicks

__all__ = ["Bound", "Exported", "export_clicks", "parse_bound"]
