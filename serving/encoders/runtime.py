"""ONNX Runtime, the way that everything here uses it: one thread, on the CPU, and telling nobody.

Its official builds send usage data to Microsoft unless this variable is set before they are loaded (Privacy.md in the
package; from 1.32 on Linux too). No other module imports it: tests/contracts/test_sources.py checks that.
"""

import os

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
