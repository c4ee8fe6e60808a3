"""ONNX Runtime, the way that everything here uses it: one thread, on the CPU, and telling nobody.

Its official builds send usage data to Microsoft unless this variable is set before they are loaded (Privacy.md in the
package; from 1.32 on Linux too). No other module imports it: tests/contracts/test_sources.py checks that.
"""

import os
from collections.abc import Mapping

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


def check_tensors(
    session: onnxruntime.InferenceSession, name: str, widths: Mapping[str, int], ranks: Mapping[str, int] | None = None
) -> None:
    """Check what a network takes and gives: its tensors' names and the widths of their last axes.

    `ranks` are the numbers of axes, and the names of tensors that have no fixed width.

    Raises:
        BundleError: the network, of a file that is called `name`, has other tensors.

    """
    tensors = (*session.get_inputs(), *session.get_outputs())
    expected_ranks = ranks or {}
    found = {tensor.name: tensor.shape[-1] for tensor in tensors if tensor.name in widths}
    if found != dict(widths) or {tensor.name for tensor in tensors} != {*widths, *expected_ranks}:
        shown = {tensor.name: tensor.shape[-1] for tensor in tensors}
        raise BundleError(
            f"{name} has the tensors (name: width) {shown}, the manifest says {dict(widths)}"
            + (f" and {', '.join(sorted({*expected_ranks} - {*widths}))}" if {*expected_ranks} - {*widths} else "")
            + "; export the bundle again"
        )
    for tensor in tensors:
        if len(tensor.shape) != expected_ranks.get(tensor.name, len(tensor.shape)):
            raise BundleError(
                f"{name}: {tensor.name} has {len(tensor.shape)} axes, expected {expected_ranks[tensor.name]}; "
                "export the bundle again"
            )
