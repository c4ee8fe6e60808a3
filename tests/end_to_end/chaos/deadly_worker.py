"""`nextclick`, but a click on one item ends the process at once, as a fault in native code would.

python -m tests.end_to_end.chaos.deadly_worker worker --bundle bundles/shop
"""

import os
import signal
from collections.abc import Sequence
from typing import Any

import serving.process
from tests.end_to_end.chaos.clickstream import DEADLY_ITEM

_process = serving.process.process


def _deadly(states: Any, clicks: Sequence[serving.process.Sourced], *arguments: Any, **options: Any) -> Any:
    if any(sourced.click.item_id == DEADLY_ITEM for sourced in clicks):
        os.kill(os.getpid(), signal.SIGKILL)
    return _process(states, clicks, *arguments, **options)


# Before anything of the worker is imported: its modules take the function from here.
serving.process.process = _deadly

if __name__ == "__main__":
    from deploy.cli import main

    main()
