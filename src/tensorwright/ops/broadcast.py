"""NumPy-style broadcasting of shapes and indices."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.expression import Load
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.equations import require_equal
from tensorwright.tensor.type import Shape, TensorType


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """The shape that all shapes broadcast to.

    Raises:
        Unequal: two extents differ and neither is 1.
    """
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_broadcast_extents([shape[axis] for shape in padded], shapes) for axis in range(rank))


def _broadcast_extents(extents: Sequence[Dim], shapes: Sequence[Shape]) -> Dim:
    wide = [extent for extent in extents if extent != 1]
    for extent in wide:
        message = f"shapes {' and '.join(map(str, shapes))} do not broadcast: {wide[0]} against {extent}"
        require_equal(wide[0], extent, message)
    return wide[0] if wide else 1


def load_broadcast(operand: int, type: TensorType, index: Sequence[Dim]) -> Load:
    """The element of an operand that broadcasting pairs with an output index."""
    own = index[len(index) - type.rank :]
    position = tuple(0 if extent == 1 else i for extent, i in zip(type.shape, own, strict=True))
    return Load(operand, position, type.dtype)
