"""Settings of serving: they shape the lists, so the evaluator takes them too."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Exclude = Literal["none", "current", "seen"]


class ServingSettings(BaseModel):
    """How sessions are cut and lists are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exclude: Exclude = "current"
    """Items that a list leaves out: `none`, the `current` one (just clicked), or all `seen` in the session."""

    list_size: int = Field(20, ge=1, le=500)
    """Items in a list; fewer only when the catalogue has no more to give."""

    session_gap_s: float = Field(1800.0, gt=0)
    """A silence longer than this, in event time, ends a session. Seconds."""

    session_length: int = Field(100, ge=2, le=1000)
    """The last interactions that a session keeps; a bundle trained with a longer window is refused."""
