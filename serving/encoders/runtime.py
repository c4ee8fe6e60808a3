"""ONNX Runtime, the way that everything here uses it: one thread, on the CPU, and telling nobody.

Its official builds send usage data to Microsoft unless this variable is set before they are loaded (Privacy.md in the
package; from 1.32 on Linux too). No other module imports it: tests/contracts/test_sources.py checks that.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

os.putenv("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from serving.errors import BundleError


def load_network(onnx: bytes, name: str) -> onnxruntime.InferenceSession:
    """Return a session that runs a network, whose results depend on its inputs alone.

    Raises:
        BundleError: the bytes, of a file that is called `name`, are no network.

    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes, none with a common base
        raise BundleError(f"{name} cannot be loaded ({error}); export the bundle again") from error


class TensorForm(NamedTuple):
    """What a network's tensor is: its elements' type as ONNX Runtime writes it, its axes, the width of the last one.

    The width is None where it is not the same for every call.
    """

    type: str
    axes: int
    width: int | None = None

    def __str__(self) -> str:
        """Return it as errors show it."""
        return f"{self.type} of {self.axes} axes" + ("" if self.width is None else f", {self.width} wide")


def floats(axes: int, width: int) -> TensorForm:
    """Return the form of a tensor of float32."""
    return TensorForm("tensor(float)", axes, width)


def integers(axes: int) -> TensorForm:
    """Return the form of a tensor of int64, none of whose axes is known before a call."""
    return TensorForm("tensor(int64)", axes)


def check_tensors(session: onnxruntime.InferenceSession, name: str, wanted: Mapping[str, TensorForm]) -> None:
    """Check what a network takes and gives: its tensors' names and forms.

    Raises:
        BundleError: the network, of a file that is called `name`, has other tensors.

    """
    found = {tensor.name: _form(tensor) for tensor in (*session.get_inputs(), *session.get_outputs())}
    if found.keys() != wanted.keys():
        raise BundleError(
            f"{name} has the tensors {', '.join(sorted(found))}, expected {', '.join(sorted(wanted))}; "
            "export the bundle again"
        )
    for tensor, form in wanted.items():
        # Of a width that differs from call to call, a network may know more or less.
        other = found[tensor] if form.width is not None else found[tensor]._replace(width=None)
        if other != form:
            raise BundleError(f"{name}: {tensor} is {found[tensor]}, expected {form}; export the bundle again")


def _form(tensor: onnxruntime.NodeArg) -> TensorForm:
    """Return a tensor's form; axes of any length have names, or none, in place of a width."""
    width = tensor.shape[-1] if tensor.shape else None
    return TensorForm(tensor.type, len(tensor.shape), width if isinstance(width, int) else None)
