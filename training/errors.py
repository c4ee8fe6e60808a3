"""What can go wrong on the training side.

NextclickError
├── DataError        a file or a log cannot be used as it is: which file, what was found, what is expected
├── CheckpointError  a checkpoint is absent, damaged, of another version, or of another training
├── TrainingError    a training diverged, or its export computes something else
└── (WrongUse)       from serving.errors: an option that does not fit the data or the other options
"""

from serving.errors import NextclickError


class DataError(NextclickError):
    """Clicks that cannot be read or used: the message names the file, what was found and what is expected."""


class CheckpointError(NextclickError):
    """A checkpoint that cannot be gone on from: absent, damaged, of another version, or of another training."""


class TrainingError(NextclickError):
    """A training that cannot go on: it diverged, or its export does not compute what the model computes."""
