"""What operators have told the worker while it runs, as one value that a list depends on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """The control state that lists are made under.

    `revision` names the control offsets that have been applied; "0" where no control topic has said anything. It
    is part of every list and of its id, so that a list made under other rules is another list.
    """

    revision: str = "0"
