"""What can go wrong with a broker on this machine.

- serving.errors.NextclickError
  - LocalBrokerError: it does not start, or died; the message ends with its log's last lines
    - MissingProgram: what it is made of is not on this machine and can't be fetched; install it, or take another broker
"""

from serving.errors import NextclickError


class LocalBrokerError(NextclickError):
    """A broker that does not start, or died."""


class MissingProgram(LocalBrokerError):
    """Something that the broker needs is not on this machine and can't be fetched."""
