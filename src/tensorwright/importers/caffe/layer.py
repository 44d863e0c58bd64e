"""What a handler of a layer type works with: the layer, its weights, and short ways to say common compositions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, apply, constant_value
from tensorwright.importers.caffe.weights import LayerWeights, Spread, reshaped, rounded
from tensorwright.importers.composer import Composer
from tensorwright.ops.elementwise import Cast
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.weights import Weights, weights_of

LARGEST_CONSTANT = 1 << 26
"""Elements of the largest tensor that is computed while a model is read."""


class Network(Protocol):
    """What a layer asks of the network that it belongs to."""

    @property
    def declared_batch(self) -> int | None:
        """The first extent that the definition gives the first input, where another one has taken its place."""
        ...

    def warn(self, message: str) -> None: ...

    def input(self, name: str, declared: tuple[int, ...] | None) -> Value: ...

    def has_shape(self, name: str) -> bool: ...


@dataclass(frozen=True, eq=False)
class Layer(Composer):
    """A layer of the model: its type, the names of its tops, and its weights."""

    type: str
    tops: tuple[str, ...]
    stored: LayerWeights
    network: Network

    def warn(self, message: str) -> None:
        """Tell the author of the network something."""
        self.network.warn(f"layer '{self.name}' ({self.type}): {message}")

    def input(self, name: str, declared: tuple[int, ...] | None) -> Value:
        """An input of the network.

        Raises:
            ImportFailure: its shape is not known, or there is one of that name.
        """
        return self.network.input(name, declared)

    def has_shape(self, name: str) -> bool:
        """Whether the user says the shape of an input."""
        return self.network.has_shape(name)

    def weights(
        self,
        number: int,
        shape: Sequence[Dim],
        what: str = "weights",
        *,
        spread: Spread = "weights",
        view: Sequence[int] | None = None,
    ) -> Value:
        """A blob of the layer as a tensor.

        Args:
            number: which blob.
            shape: the shape that the layer needs.
            what: what the blob is, as messages call it.
            spread: what random numbers, where there is no model file, should be like.
            view: the shape to use it in, with the same elements in the same order.

        Raises:
            ImportFailure: the model has no such blob for the layer, or one of another shape.
        """
        extents = self.static(shape, f"the shape of {what}")
        found = self.stored.take(number, extents, what, spread)
        return self._constant(found if view is None else reshaped(found, view))

    def numbers(
        self, number: int, shape: Sequence[Dim], what: str, *, spread: Spread = "weights"
    ) -> npt.NDArray[np.float64]:
        """A blob of the layer as numbers to compute with."""
        extents = self.static(shape, f"the shape of {what}")
        return self.stored.take(number, extents, what, spread).array.astype(np.float64)

    def computed(self, array: npt.NDArray[np.float64], what: str) -> Value:
        """A tensor of numbers that were computed from weights."""
        return self._constant(rounded(weights_of(array.astype(np.float32)), self.stored.dtype, what))

    def check_constant(self, shape: Sequence[int], what: str) -> None:
        """Refuse to compute a tensor that cannot be meant.

        Raises:
            ImportFailure: it has more than `LARGEST_CONSTANT` elements.
        """
        if prod(shape) > LARGEST_CONSTANT:
            self.fail(f"{what} would have {prod(shape)} elements, more than {LARGEST_CONSTANT}; check the parameters")

    def _constant(self, weights: Weights) -> Value:
        """Weights of a smaller type stay that in the network; what computes with them is float32."""
        value = constant_value(weights, self.name)
        return value if weights.type.dtype == FLOAT32 else apply(Cast(FLOAT32), value, name=self.name)
