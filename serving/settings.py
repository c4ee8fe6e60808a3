"""Settings of serving: they shape the lists, so the evaluator takes them too.

The upper bounds keep the largest list and the largest session state, with ids of the greatest length, under a megabyte:
Kafka's limit for a record, unless somebody has raised it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_LIST_SIZE = 200
MAX_SESSION_LENGTH = 400

Exclude = Literal["none", "current", "seen"]


def left_out(exclude: Exclude, events: int) -> int:
    """Return how many of a session's last events, of so many that it has, have items that its list leaves out."""
    return {"none": 0, "current": min(1, events), "seen": events}[exclude]


class ServingSettings(BaseModel):
    """How sessions are cut and lists are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exclude: Exclude = "current"
    """Items that a list leaves out: `none`, the `current` one (just clicked), or all `seen` in the session."""

    list_size: int = Field(20, ge=1, le=MAX_LIST_SIZE)
    """Items in a list; fewer only when the catalogue has no more to give."""

    session_gap_s: float = Field(1800.0, gt=0)
    """A silence longer than this, in event time, ends a session. Seconds."""

    session_length: int = Field(100, ge=2, le=MAX_SESSION_LENGTH)
    """The last interactions that a session keeps; a bundle trained with a longer window is refused."""
