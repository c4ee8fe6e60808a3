"""What can go wrong, by what the caller can do about it.

- NextclickError: a failure; the command ends with exit code 1
  - WrongUse: the call itself is wrong (an option, a setting, a path); exit code 2
  - BundleError: a bundle is damaged, foreign, or of a future format; build it again or name another one
  - StateError: a session state that this version cannot read; run the newer worker
- InvalidEvent: one event that cannot be used; it becomes a dead letter and the partition moves on
"""


class NextclickError(Exception):
    """A failure that the message explains: what, which value, and what to do now."""

    exit_code = 1


class WrongUse(NextclickError):
    """The call itself is wrong: an unknown option or setting, a value out of range, a path that is not there."""

    exit_code = 2


class BundleError(NextclickError):
    """A bundle that cannot be loaded or written."""


class StateError(NextclickError):
    """A stored session state that this version cannot read."""


class InvalidEvent(Exception):
    """An event that cannot be decoded or validated. Bad input is no failure of the process.

    Args:
        reason: one of a small fixed set, fit for a metric's label.
        message: what was found, what is expected, what the producer must do.

    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
