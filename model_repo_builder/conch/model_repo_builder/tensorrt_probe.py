"""Whether TensorRT can build here, found out without importing it.

Importing it is not free of danger: without a driver its objects crash the process when they are
destroyed. So the package and the driver are looked for first, and all else is a child's business.
"""

from __future__ import annotations

import ctypes
import importlib.util

_DRIVER = "libcuda.so.1"


def tensorrt_problem() -> str:
    """Say why TensorRT cannot build here; empty if it may be tried."""
    if importlib.util.find_spec("tensorrt") is None:
        return "tensorrt is not installed: pip install 'conch[tensorrt]' beside a GPU"
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"there is no GPU driver ({_DRIVER}); Triton compiles the ONNX graph on its own GPU"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "the GPU driver does not answer"
    return "" if count.value else "the GPU driver sees no GPU"
