"""The inputs of a network, and what shapes they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value, input_value
from tensorwright.tensor.dim import Dim, IntegerExpression
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType

Shapes = Mapping[str, Sequence[Dim]]


@dataclass(frozen=True)
class InputShapes:
    """What shapes inputs have: as the user says, or else as the definition does.

    batch: takes the place of the first extent of every input that `given` does not name; None keeps it.
    """

    given: Shapes
    batch: Dim | None = None

    def value(self, name: str, declared: tuple[int, ...] | None) -> Value:
        """An input of the network.

        Raises:
            ImportFailure: neither the user nor the definition says the shape, or it is no shape.
        """
        return input_value(name, TensorType(FLOAT32, self._shape(name, declared)))

    def _shape(self, name: str, declared: tuple[int, ...] | None) -> tuple[Dim, ...]:
        shape = self.given.get(name, declared)
        if shape is None:
            raise ImportFailure(
                f"input '{name}': the definition does not say its shape; write input_shape or an Input layer, or give "
                f"shapes={{'{name}': ...}}"
            )
        wrong = [dim for dim in shape if not isinstance(dim, IntegerExpression) and (isinstance(dim, bool) or dim < 1)]
        if wrong:
            raise ImportFailure(f"input '{name}': expected extents of at least 1, found {list(shape)}")
        if name in self.given or self.batch is None or not shape:
            return tuple(shape)
        return (self.batch, *shape[1:])
