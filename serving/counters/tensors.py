"""Reading counters from a bundle, which may be damaged or foreign."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from serving.bounds import fault
from serving.errors import BundleError
from serving.settings import MAX_SESSION_LENGTH

Tensor = npt.NDArray[Any]
Tensors = Mapping[str, Tensor]

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


def read_parameters(kind: str, found: Mapping[str, Any], wanted: type[Parameters]) -> Parameters:
    """Return a counter's parameters.

    Raises:
        BundleError: some are missing, unknown, of another type, or out of range.

    """
    try:
        parameters = msgspec.convert(dict(found), wanted)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"the parameters of counter {kind} cannot be read ({fault(error, found)}); export the bundle again"
        ) from error
    # Counters make tables as long as their window.
    window = found.get("window", 0)
    refuse_unless(
        window <= MAX_SESSION_LENGTH,
        f"{kind}: window is {window}, and no session keeps more than {MAX_SESSION_LENGTH} events",
    )
    return parameters


def read_tensors(kind: str, found: Tensors, wanted: Mapping[str, type[np.generic]]) -> list[Tensor]:
    """Return a counter's tensors in the order of `wanted`, all flat and of the types that it names.

    Raises:
        BundleError: there are others, or they have another type or shape.

    """
    refuse_unless(found.keys() == wanted.keys(), f"{kind}: tensors are {sorted(found)}, expected {sorted(wanted)}")
    for name, dtype in wanted.items():
        tensor = found[name]
        refuse_unless(
            tensor.dtype == dtype and tensor.ndim == 1,
            f"{kind}: {name} is {tensor.dtype} {list(tensor.shape)}, expected a list of {np.dtype(dtype)}",
        )
    return [found[name] for name in wanted]


def check_lists(kind: str, begin: Tensor, values: Tensor, lists: int, limit: int) -> None:
    """Refuse lists, one after the other, that a lookup would leave: there are `lists`, of values below `limit`.

    Raises:
        BundleError: they are of another number, overlap, or hold other values.

    """
    borders = begin.astype(np.int64)  # differences of int32 wrap around
    refuse_unless(
        len(borders) == lists + 1
        and borders[0] == 0
        and borders[-1] == len(values)
        and bool((np.diff(borders) >= 0).all()),
        f"{kind}: {len(begin)} borders do not cut {len(values)} values into {lists} lists",
    )
    refuse_unless(bool(((values >= 0) & (values < limit)).all()), f"{kind}: values are not all from 0 to below {limit}")


def check_weights(kind: str, weights: Tensor, size: int) -> None:
    """Refuse weights that are not `size`, or not all finite and zero or above.

    Raises:
        BundleError: they are not.

    """
    refuse_unless(len(weights) == size, f"{kind}: {len(weights)} weights, expected {size}")
    good = np.isfinite(weights) & (weights >= 0)
    refuse_unless(bool(good.all()), f"{kind}: weights hold NaN, infinity, or numbers below zero")


def refuse_unless(good: bool, found: str) -> None:
    """Refuse a counter that is not as it should be.

    Raises:
        BundleError: `good` is false; `found` says what is wrong.

    """
    if not good:
        raise BundleError(f"counter {found}; export the bundle again")
