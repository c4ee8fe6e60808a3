"""What can go wrong in the stream, by what the caller can do about it.

- serving.errors.WrongUse, exit code 2
  - SettingsError: a setting that is unknown or has an unusable value; correct it where the message says it came from
- serving.errors.NextclickError, exit code 1
  - BrokerError: Kafka cannot be reached, or refuses what was asked; check the address, the credentials, the broker
  - TopicError: a topic is missing or is not as the settings say; `nextclick topics check` tells all of them
  - PublishError: Kafka did not take a record; the worker ends, and reads the events again when it is started
"""

from serving.errors import NextclickError, WrongUse


class SettingsError(WrongUse):
    """A setting that is unknown, or whose value cannot be used."""


class BrokerError(NextclickError):
    """Kafka cannot be reached, or refuses what was asked."""


class TopicError(NextclickError):
    """A topic is missing, or is not as the settings say."""


class PublishError(NextclickError):
    """Kafka did not take a record of the worker's."""
