"""What can go wrong on the training side.

NextclickError
├── DataError        a file or a log cannot be used as it is: which file, what was found, what is expected
└── (WrongUse)       from serving.errors: an option that does not fit the data or the other options
"""

from serving.errors import NextclickError


class DataError(NextclickError):
    """Clicks that cannot be read or used: the message names the file, what was found and what is expected."""
