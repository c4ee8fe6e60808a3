"""The settings of a process: what there is to set, and where the values come from.

Built once in the command and passed down; nothing else reads the environment. docs/configuration.md lists them all.
"""

from stream.settings.groups import MonitoringSettings, OverloadSettings, Settings, TopicSettings, WorkerSettings
from stream.settings.kafka import KafkaSettings
from stream.settings.sources import Loaded, Setting, known_settings, load_settings, load_with_origins

__all__ = [
    "KafkaSettings",
    "Loaded",
    "MonitoringSettings",
    "OverloadSettings",
    "Setting",
    "Settings",
    "TopicSettings",
    "WorkerSettings",
    "known_settings",
    "load_settings",
    "load_with_origins",
]
