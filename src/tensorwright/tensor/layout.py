"""How the elements of a tensor lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.tensor.dim import Dim, ceil_divide, product
from tensorwright.tensor.type import Shape, TensorType


@dataclass(frozen=True)
class Layout:
    """Row-major order, or with the channels (axis 1) split into blocks of `block` that lie innermost.

    The blocked layout of N×C×H×W is ``[N, ceil(C / block), H, W, block]`` ("nChw16c" for block 16). Lanes beyond C
    are padding: nobody reads them, so they may hold anything.
    """

    block: int = 1

    @property
    def is_plain(self) -> bool:
        return self.block == 1

    def physical_shape(self, shape: Shape) -> Shape:
        """Extents in memory order, outermost first."""
        if self.is_plain:
            return shape
        return (shape[0], ceil_divide(shape[1], self.block), *shape[2:], self.block)

    def physical_index(self, index: Sequence[Dim]) -> tuple[Dim, ...]:
        """The position in memory order of the element at a logical index."""
        if self.is_plain:
            return tuple(index)
        return (index[0], index[1] // self.block, *index[2:], index[1] % self.block)

    def logical_index(self, index: Sequence[Dim]) -> tuple[Dim, ...]:
        """The logical index of the element at a position in memory order."""
        if self.is_plain:
            return tuple(index)
        return (index[0], index[1] * self.block + index[-1], *index[2:-1])

    def address(self, shape: Shape, index: Sequence[Dim]) -> Dim:
        """The distance in elements from the start of the tensor to the element at a logical index."""
        offset: Dim = 0
        for extent, position in zip(self.physical_shape(shape), self.physical_index(index), strict=True):
            offset = offset * extent + position
        return offset

    def elements(self, shape: Shape) -> Dim:
        """Elements in memory, padding included."""
        return product(self.physical_shape(shape))

    def __repr__(self) -> str:
        return "plain" if self.is_plain else f"blocked{self.block}"


PLAIN = Layout()


def physical_bytes(type: TensorType, layout: Layout) -> Dim:
    """Bytes that a tensor takes in a layout, padding included."""
    return layout.elements(type.shape) * type.dtype.size
