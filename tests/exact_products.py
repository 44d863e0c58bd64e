"""ONNX Runtime as a judge of products of bytes, on every processor.

On x86 processors without VNNI it adds up products of uint8 by int8 in pairs, in 16 bits, and these sums saturate. Its
products of uint8 by uint8 are exact everywhere.
"""

from __future__ import annotations

import numpy as np
from onnxruntime import SessionOptions

UNSIGNED = 128
"""What is added to int8 to have uint8: as a zero point it is subtracted again."""


def exact_options() -> SessionOptions:
    """Options with which ONNX Runtime makes constants of int8 ones of uint8 where that is needed.

    It does so when it optimises. Of models that multiply int8 by int8, exact as they are, it refuses some then.
    """
    options = SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def unsigned(array: np.ndarray) -> np.ndarray:
    """A factor of int8 as one of uint8, whose zero point is `UNSIGNED`."""
    return (array.astype(np.int16) + UNSIGNED).astype(np.uint8)
