"""Weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tensorwright.api import weights
from tensorwright.tensor.dtype import FLOAT32, DType


class Weights(weights.Weights):
    """Values for a layer, from an array; nothing, or a type, for no values.

    `empty` means no weights; it can be called with a type, too.
    """

    empty: ClassVar[Weights]

    def __init__(self, values: npt.ArrayLike | DType = ()) -> None:
        super().__init__(np.empty(0, values.numpy) if isinstance(values, DType) else values)

    def __call__(self, dtype: DType = FLOAT32) -> Weights:
        """No weights, of a type: what `Weights.empty(dtype)` calls."""
        return Weights(dtype)


Weights.empty = Weights(FLOAT32)
