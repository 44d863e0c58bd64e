"""Weights as users give them: arrays of any shape with the right number of values."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import NetworkError
from tensorwright.tensor import weights as constants
from tensorwright.tensor.dtype import DType, dtype_of
from tensorwright.tensor.type import TensorType

Array = npt.NDArray[np.generic]


class Weights:
    """Values for a layer. Layers copy them when they are added, so the source may change or go away afterwards.

    Args:
        values: an array or nested lists; nothing for no weights, where a layer allows that.
    """

    def __init__(self, values: npt.ArrayLike = ()) -> None:
        self._array = np.asarray(values)

    @property
    def size(self) -> int:
        """How many values there are."""
        return self._array.size

    @property
    def nbytes(self) -> int:
        return self._array.nbytes

    @property
    def dtype(self) -> DType:
        return dtype_of(self._array.dtype)

    def numpy(self) -> Array:
        """The values as an array."""
        return self._array

    def __len__(self) -> int:
        return self.size


def copied(values: object) -> constants.Weights:
    """A copy of weights, of a loaded tensor's weights (never copied) or of anything that NumPy makes an array of.

    Raises:
        NetworkError: they are no array of a supported element type.
    """
    if isinstance(values, constants.Weights):
        return values
    source = values.numpy() if isinstance(values, Weights) else values
    try:
        return constants.weights_of(np.asarray(source))
    except (TypeError, ValueError, NetworkError) as error:
        raise NetworkError(f"expected an array of numbers, found {type(values).__name__} ({error})") from None


def is_empty(values: object) -> bool:
    """Whether there are no weights at all: None, no values."""
    if isinstance(values, constants.Weights):
        return values.type.elements == 0
    return values is None or np.size(values.numpy() if isinstance(values, Weights) else values) == 0  # type: ignore[arg-type]


def count(weights: constants.Weights) -> int:
    """How many values there are."""
    return prod(weights.type.tuning_shape)


def shaped(weights: constants.Weights, shape: tuple[int, ...], dtype: DType) -> constants.Weights:
    """The same values with another shape and, for floating values, another floating type.

    Raises:
        NetworkError: the element type does not fit.
    """
    found = weights.type.dtype
    if found != dtype and not (found.is_float and dtype.is_float):
        raise NetworkError(f"weights are {found}, {dtype} needed as in the input; convert them with astype")
    type = TensorType(dtype, shape)
    return weights if weights.type == type else constants.Weights(type, lambda: weights.array.astype(dtype.numpy))
