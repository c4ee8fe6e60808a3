"""The numbers that a bundle may say, so that none of them brings down the worker that believes it."""

import re
from typing import Annotated, Any

import msgspec
import numpy as np

from serving.settings import MAX_SESSION_LENGTH

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)

Count = Annotated[int, msgspec.Meta(ge=1)]
Size = Annotated[int, msgspec.Meta(ge=0)]
Window = Annotated[int, msgspec.Meta(ge=1, le=MAX_SESSION_LENGTH)]
"""Events of a session that are read: no session keeps more."""
Finite = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
"""A number that float32 can hold."""
Positive = Annotated[float, msgspec.Meta(ge=_SMALLEST, le=_LARGEST)]
"""A number above zero that is so in float32 too."""

_PATH = re.compile(r" - at `\$((?:\.\w+|\[\d+\])+)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def fault(error: msgspec.ValidationError, document: Any) -> str:
    """Return what is wrong with a document: the error, and the number or text that it is about."""
    path = _PATH.search(str(error))
    if path is None:
        return str(error)
    found = document
    for name, place in _STEP.findall(path[1]):
        found = found[name] if name else found[int(place)]
    if isinstance(found, dict | list):
        return str(error)
    return f"{str(error)[: path.start()]}, found {found!r:.80} at {path[1].lstrip('.')}"
