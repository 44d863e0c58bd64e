"""The weights of the layers: from the model file, or random where there is none."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe.blobs import Blob, Model
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

Spread = Literal["weights", "bias", "positive"]
Floats = npt.NDArray[np.float32]

LARGEST_RANDOM = 1 << 30
"""Elements of all random weights of a network together."""


class NoWeights(Exception):
    """The model has nothing for a layer that needs weights; collected, to be reported together with the others."""


class LayerWeights(Protocol):
    """The weights of one layer."""

    dtype: DType

    def take(self, number: int, shape: tuple[int, ...], what: str, spread: Spread) -> Weights:
        """Blob `number` in a shape; see `Layer.weights`."""
        ...

    @property
    def count(self) -> int | None:
        """How many blobs the layer has; None for as many as are taken."""
        ...

    def finish(self) -> None:
        """Called when the layer has taken all that it needs.

        Raises:
            ImportFailure: blobs are left over.
        """
        ...


class ModelWeights:
    """The blobs of a layer in a model file."""

    def __init__(self, model: Model, layer: str, dtype: DType) -> None:
        self.dtype = dtype
        self._label = model.label
        self._blobs = model.blobs.get(layer, ())
        self._taken: set[int] = set()

    @property
    def count(self) -> int | None:
        return len(self._blobs)

    def take(self, number: int, shape: tuple[int, ...], what: str, spread: Spread) -> Weights:
        if not self._blobs:
            raise NoWeights
        if number >= len(self._blobs):
            raise ImportFailure(
                f"needs blob {number} ({what}), {self._label} has {len(self._blobs)} for it; the definition and the "
                "model belong to different networks, or a parameter such as bias_term differs"
            )
        self._taken.add(number)
        return rounded(self._shaped(self._blobs[number], shape, what), self.dtype, what)

    def finish(self) -> None:
        if self._taken and len(self._taken) < len(self._blobs):
            raise ImportFailure(
                f"uses {len(self._taken)} blobs, {self._label} has {len(self._blobs)} for it; the definition and the "
                "model belong to different networks, or a parameter such as bias_term differs"
            )

    def _shaped(self, blob: Blob, shape: tuple[int, ...], what: str) -> Weights:
        fits = blob.elements.size == prod(shape) and (
            blob.shape is None or _without_ones(blob.shape) == _without_ones(shape)
        )
        if not fits:
            raise ImportFailure(
                f"{what}: expected {_show(shape)} = {prod(shape)} values, {self._label} has {_show(blob.extents)} = "
                f"{blob.elements.size}; the definition and the model belong to different networks"
            )
        return Weights(TensorType(FLOAT32, shape), lambda: blob.elements.reshape(shape).astype(np.float32, copy=False))


class RandomSource:
    """Random weights, the same at every import; `elements` counts how many there are so far."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.elements = 0

    def of(self, layer: str) -> LayerWeights:
        return RandomWeights(self, layer)

    def promise(self, elements: int) -> None:
        """Count elements.

        Raises:
            ImportFailure: there are more than `LARGEST_RANDOM`.
        """
        self.elements += elements
        if self.elements > LARGEST_RANDOM:
            raise ImportFailure(
                f"the network needs more than {LARGEST_RANDOM} random weights; give a model file, or check them"
            )


class RandomWeights:
    """Random weights for a layer of a network without a model file."""

    count: int | None = None

    def __init__(self, source: RandomSource, layer: str) -> None:
        self.dtype = source.dtype
        self._source = source
        self._seed = zlib.crc32(layer.encode())

    def take(self, number: int, shape: tuple[int, ...], what: str, spread: Spread) -> Weights:
        self._source.promise(prod(shape))
        dtype = self.dtype
        return Weights(TensorType(dtype, shape), lambda: self._drawn(number, shape, spread).astype(dtype.numpy))

    def finish(self) -> None:
        """Nothing can be left over."""

    def _drawn(self, number: int, shape: tuple[int, ...], spread: Spread) -> Floats:
        random = np.random.default_rng((self._seed, number))
        if spread == "positive":
            return random.uniform(0.9, 1.1, shape).astype(np.float32)
        deviation = 0.01 if spread == "bias" else random_deviation(shape)
        return random.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def random_deviation(shape: Sequence[int]) -> float:
    """The deviation that keeps activations in range: ``1 / (kernel elements · √(inputs · outputs))``, roots taken."""
    outputs, inputs, *kernel = (*shape, 1, 1)[: max(2, len(shape))]
    return 1 / sqrt(max(1.0, prod(kernel) * sqrt(max(1, inputs * outputs))))


def reshaped(weights: Weights, shape: Sequence[int]) -> Weights:
    """The same elements in the same order under another shape."""
    wanted = tuple(shape)
    return Weights(TensorType(weights.type.dtype, wanted), lambda: weights.array.reshape(wanted))


def rounded(weights: Weights, dtype: DType, what: str) -> Weights:
    """Weights as another type.

    Raises:
        ImportFailure: a finite value lies outside the range of the type.
    """
    if dtype == FLOAT32:
        return weights
    array, limit = weights.array, float(np.finfo(np.float16).max)
    outside = np.isfinite(array) & (np.abs(array) > limit)
    if dtype == FLOAT16 and outside.any():
        value = array.reshape(-1)[int(np.argmax(outside.reshape(-1)))]
        raise ImportFailure(f"{what}: {value} is outside the range of float16, ±{limit:g}; import with dtype float32")
    return Weights(TensorType(dtype, weights.type.shape), lambda: array.astype(dtype.numpy))


def _without_ones(shape: Sequence[int]) -> list[int]:
    """The shape as the older format, which always has four axes, and the newer one both say it."""
    return [extent for extent in shape if extent != 1]


def _show(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"
